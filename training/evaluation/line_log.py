"""What was measured, a line a metric, and how lines outlive a killed run."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portrait.training.metrics.classes import Interval
from portrait.training.whole_lines import whole_lines


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
    """By how much the one is higher, and how sure that is: users who are easy or hard are so for both."""
    return _compared(one, other, np.subtract)


def gain(one: Line, other: Line) -> Interval:
    """The same as a share of the other's value."""
    return _compared(one, other, lambda ours, theirs: ours / theirs - 1)


def _compared(one: Line, other: Line, by: Callable[[Any, Any], Any]) -> Interval:
    ours, theirs = (np.array([line.value, *line.resamples]) for line in (one, other))
    with np.errstate(divide="ignore", invalid="ignore"):  # a gain over nothing has no value
        compared = by(ours, theirs)
    return Interval.of(float(compared[0]), compared[1:])


class LineLog:
    """The lines of a task on disk, a JSON list a method."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = [
            Line(**fields | {"resamples": tuple(fields["resamples"])})
            for lines in whole_lines(path)
            for fields in lines
        ]

    def of(self, method: str, fingerprint: str | None) -> list[Line]:
        """What was measured of a method, or of a version by its fingerprint."""
        return [line for line in self._lines if (line.method, line.fingerprint) == (method, fingerprint)]

    def add(self, lines: list[Line]) -> None:
        """All metrics of a method at once: half of them are never found."""
        with self._path.open("a") as file:
            file.write(json.dumps([asdict(line) for line in lines]) + "\n")
        self._lines += lines
