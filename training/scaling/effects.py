"""Effects beside the law: batch against model size, and pretext loss against downstream score (CLUE)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np
from scipy.stats import rankdata

from portrait.training.encoding.arrays import Float64
from portrait.training.scaling.frontier import EQUAL_COMPUTE, Point, points
from portrait.training.scaling.law import PercentileInterval, interval
from portrait.training.scaling.runs import Run

FEWEST_SCORES = 4


class Equal(StrEnum):
    """The quantity that the compared runs have in common."""

    COMPUTE = "compute"  # a larger model makes fewer steps
    STEPS = "steps"  # a larger model or batch costs more


@dataclass(frozen=True)
class SizeGain:
    """The gain of the largest size over the smallest one at one batch."""

    batch: int
    nats: float  # loss of the smallest less that of the largest
    share: float  # of the smallest one's loss
    error: float | None  # standard error in nats; None when nothing was repeated

    @property
    def clear(self) -> bool | None:
        """Whether it is more than two standard errors; None when nothing was repeated."""
        return None if self.error is None else abs(self.nats) > 2 * self.error


@dataclass(frozen=True)
class BatchEffect:
    """Losses by size and batch, all else equal."""

    equal: Equal
    amount: float  # FLOPs or steps of each run
    cells: tuple[Point, ...]  # by parameters, then batch
    smallest: str
    largest: str
    gains: tuple[SizeGain, ...]  # by batch
    spread: float | None  # deviation of a run from the mean of its seeds, nats

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes, by their parameters."""
        return tuple(dict.fromkeys(cell.first.size for cell in self.cells))


@dataclass(frozen=True)
class Correlation:
    """Spearman's, of loss and downstream score; -1: they move together, lower loss with higher score."""

    rho: float
    interval: PercentileInterval
    count: int  # configurations


def batch_effect(runs: Sequence[Run], equal: Equal) -> BatchEffect | None:
    """The fullest grid of sizes and batches at equal compute (within 5%) or steps, and equal users and lengths.

    Of equally full ones the dearest. None unless two sizes were both trained with two batches.
    """
    converged = [point for point in points(runs) if point.converged]
    grids = [_grid(group, equal) for group in _alike(converged, equal)]
    found = [grid for grid in grids if len(grid.gains) > 1]
    return max(found, key=lambda grid: (len(grid.cells), grid.amount), default=None)


def statements(effect: BatchEffect) -> list[str]:
    """The measured gains in words, a sentence for each batch."""
    sentences = []
    for gain in effect.gains:
        direction = "lower" if gain.nats > 0 else "higher"
        doubt = {None: "", True: "", False: "; this is within the noise between seeds"}[gain.clear]
        sentences.append(
            f"With batch {gain.batch:,} the loss of the {effect.largest} model is {abs(gain.nats):.3f} nats "
            f"({abs(gain.share):.1%}) {direction} than that of the {effect.smallest} model{doubt}."
        )
    if effect.spread is None:
        sentences.append("No configuration was repeated with another seed, so the noise of these numbers is unknown.")
    return sentences


def correlation(runs: Sequence[Run], n: int = 2000, seed: int = 0) -> Correlation | None:
    """Spearman's, over the configurations with a score, with a bootstrap interval; None with fewer than four."""
    scored = [point for point in points(runs) if point.converged and point.downstream is not None]
    if len(scored) < FEWEST_SCORES:
        return None
    loss = np.array([point.loss for point in scored])
    score = np.array([point.downstream for point in scored], dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(scored), size=(n, len(scored)))
    values = _spearman(loss[drawn], score[drawn])
    known = values[np.isfinite(values)]  # a draw of equal values has no correlation
    (rho,) = _spearman(loss[None], score[None])
    return Correlation(float(rho), interval(known), len(scored)) if np.isfinite(rho) and len(known) else None


def _alike(converged: Sequence[Point], equal: Equal) -> Iterable[list[Point]]:
    def key(point: Point) -> tuple[int, ...]:
        first = point.first
        return (first.users, first.sequence_length, *([first.steps] if equal is Equal.STEPS else []))

    for _, group in groupby(sorted(converged, key=key), key=key):
        members = sorted(group, key=lambda point: point.flops)
        if equal is Equal.STEPS:
            yield members
        else:
            yield from _of_equal_compute(members)


def _of_equal_compute(members: list[Point]) -> Iterable[list[Point]]:
    group: list[Point] = []
    for point in members:
        if group and point.flops > group[0].flops * EQUAL_COMPUTE:
            yield group
            group = []
        group.append(point)
    yield group


def _grid(group: list[Point], equal: Equal) -> BatchEffect:
    by_place = {(point.first.parameters, point.first.batch): point for point in reversed(group)}
    cells = tuple(by_place[place] for place in sorted(by_place))
    spread = _pooled_deviation(cells)
    small, large = cells[0].first, cells[-1].first
    gains = []
    for batch in sorted({cell.first.batch for cell in cells}):
        one, other = by_place.get((small.parameters, batch)), by_place.get((large.parameters, batch))
        if one and other and small.parameters < large.parameters:
            gains.append(_gain(batch, one, other, spread))
    amount = float(small.steps) if equal is Equal.STEPS else float(np.mean([cell.flops for cell in cells]))
    return BatchEffect(equal, amount, cells, small.size, large.size, tuple(gains), spread)


def _gain(batch: int, small: Point, large: Point, spread: float | None) -> SizeGain:
    nats = small.loss - large.loss
    error = None if spread is None else float(spread * np.sqrt(1 / len(small.runs) + 1 / len(large.runs)))
    return SizeGain(batch, nats, nats / small.loss, error)


def _pooled_deviation(cells: tuple[Point, ...]) -> float | None:
    """Deviation between seeds, pooled over the cells; None when no cell has two seeds."""
    squares = sum((run.loss - cell.loss) ** 2 for cell in cells for run in cell.runs)
    freedom = sum(len(cell.runs) - 1 for cell in cells)
    return float(np.sqrt(squares / freedom)) if freedom else None


def _spearman(one: Float64, other: Float64) -> Float64:
    """float64 [n] rank correlations of the rows of two arrays [n, m]; NaN where a row is constant."""
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    product: Float64 = (a * b).sum(axis=1)
    rho: Float64 = np.divide(product, size, out=np.full(len(size), np.nan), where=size > 0)
    return rho
