"""Rounds of measurement on a shared machine: contenders take turns, and ratios are taken within a round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Measurement:
    """A rate, once a round."""

    what: str
    unit: str
    rounds: tuple[float, ...]
    clients: int = 1
    p50_ms: tuple[float, ...] = ()  # once a round
    p99_ms: tuple[float, ...] = ()
    cpu_us: tuple[float, ...] = ()  # processor time of the server a request, once a round

    @property
    def median(self) -> float:
        """The rate of the middle round."""
        return median(self.rounds)


@dataclass(frozen=True)
class Ratio:
    """One rate over another, of the same rounds: the middle one and the extremes."""

    what: str
    value: float
    low: float
    high: float
    aim: float | None = None

    @property
    def reached(self) -> bool:
        """Whether there is an aim and the middle ratio is at least that."""
        return self.aim is not None and self.value >= self.aim


@dataclass(frozen=True)
class Grid:
    """Further figures of a benchmark: a name and some numbers in each row."""

    what: str
    columns: tuple[str, ...]  # of the numbers
    rows: list[tuple[str, tuple[float, ...]]]


@dataclass(frozen=True)
class Section:
    """What one benchmark found."""

    name: str
    measurements: list[Measurement]
    ratios: list[Ratio]
    grids: tuple[Grid, ...] = ()


def ratio(what: str, ours: Measurement, theirs: Measurement, aim: float | None = None) -> Ratio:
    """How many times the rate of `theirs` is ours."""
    return _of_rounds(what, ours.rounds, theirs.rounds, aim)


def cpu_ratio(what: str, theirs: Measurement, ours: Measurement) -> Ratio:
    """How many times our processor time a request theirs is."""
    return _of_rounds(what, theirs.cpu_us, ours.cpu_us, None)


def p99_ratio(what: str, theirs: Measurement, ours: Measurement, aim: float | None = None) -> Ratio:
    """How many times our 99th percentile of latency theirs is."""
    return _of_rounds(what, theirs.p99_ms, ours.p99_ms, aim)


def _of_rounds(what: str, ones: Sequence[float], others: Sequence[float], aim: float | None) -> Ratio:
    each = [one / other for one, other in zip(ones, others, strict=True)]
    return Ratio(what, median(each), min(each), max(each), aim)


def alternate(contenders: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, Sequence[Sample]]:
    """Run every contender once a round, in the other direction every other round."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            samples[name].append(contenders[name]())
    return dict(samples)
