"""Logs of measurements that outlive a killed run: lines of a task by method, and measurements of a suite by key."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portrait.training.json_lines import JsonLines
from portrait.training.metrics.classes import Interval


@dataclass(frozen=True)
class Line:
    """One metric of one method, with its 95% interval over users."""

    method: str
    fingerprint: str | None  # of a version; None for a baseline
    metric: str
    value: float
    low: float
    high: float
    rows: int  # that were asked for
    seconds: float
    resamples: tuple[float, ...]  # the value in each resample of the users; lines of one task have the same ones

    def shown(self) -> dict[str, Any]:
        """All but the resamples, as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "resamples"}


def difference(one: Line, other: Line) -> Interval:
    """By how much `one` is higher, with its 95% interval over the same resamples of users for both."""
    return _compare(one, other, np.subtract)


def gain(one: Line, other: Line) -> Interval:
    """The difference as a share of the other's value, with its interval."""
    return _compare(one, other, lambda ours, theirs: ours / theirs - 1)


def _compare(one: Line, other: Line, by: Callable[[Any, Any], Any]) -> Interval:
    ours, theirs = (np.array([line.value, *line.resamples]) for line in (one, other))
    with np.errstate(divide="ignore", invalid="ignore"):  # a gain over nothing has no value
        compared = by(ours, theirs)
    return Interval.from_resamples(float(compared[0]), compared[1:])


class LineLog:
    """The lines of a task on disk, a JSON list a method."""

    def __init__(self, path: Path) -> None:
        self._log = JsonLines(path)
        self._lines = [
            Line(**fields | {"resamples": tuple(fields["resamples"])})
            for lines in self._log.resume()
            for fields in lines
        ]

    def lines_of(self, method: str, fingerprint: str | None) -> list[Line]:
        """The lines of a method, or of a version by its fingerprint."""
        return [line for line in self._lines if (line.method, line.fingerprint) == (method, fingerprint)]

    def add(self, lines: list[Line]) -> None:
        """All metrics of a method at once: half of them are never found."""
        self._log.append([asdict(line) for line in lines])
        self._lines += lines


Measured = dict[str, Any]


class Kept:
    """Measurements by a key; those of other data, or of another question, have another stamp and do not count."""

    def __init__(self, path: Path, stamp: str) -> None:
        self._log, self._stamp = JsonLines(path), stamp
        path.parent.mkdir(parents=True, exist_ok=True)
        found = [one for one in self._log.resume() if one["stamp"] == stamp]
        self._known: dict[str, Measured] = {one["key"]: one["measured"] for one in found}
        self.made = 0  # measurements of this run

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def once(self, key: str, measure: Callable[[], Measured]) -> Measured:
        """The measurement under a key; `measure` makes it where there is none."""
        if key not in self._known:
            measured = json.loads(json.dumps(measure()))
            self._log.append({"stamp": self._stamp, "key": key, "measured": measured})
            self._known[key] = measured
            self.made += 1
        return self._known[key]
