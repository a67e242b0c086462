"""The frontier of a study: the lower envelope of loss over compute."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from portrait.training.encoding.arrays import Bool, Float64
from portrait.training.scaling.runs import Run

EQUAL_COMPUTE = 1.05  # whole steps do not use a budget up exactly; up to this ratio two runs cost the same


@dataclass(frozen=True)
class Point:
    """A configuration with all its seeds. Their mean counts: the best of them would promise too much."""

    configuration: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """A run of it, for the settings that all of them share."""
        return self.runs[0]

    @property
    def flops(self) -> float:
        """FLOPs of training, mean over the seeds."""
        return math.fsum(run.flops for run in self.runs) / len(self.runs)

    @property
    def loss(self) -> float:
        """Mean over the seeds, nats; not finite when one of them has diverged."""
        return math.fsum(run.loss for run in self.runs) / len(self.runs)

    @property
    def downstream(self) -> float | None:
        """Mean over the seeds with a score."""
        scores = [run.downstream for run in self.runs if run.downstream is not None]
        return math.fsum(scores) / len(scores) if scores else None

    @property
    def converged(self) -> bool:
        """Whether its loss is a number that has a logarithm."""
        return math.isfinite(self.loss) and self.loss > 0


def points(runs: Sequence[Run]) -> tuple[Point, ...]:
    """The configurations by compute, diverged ones too; the order of the runs does not matter."""
    ordered = sorted(runs, key=lambda run: (run.setting.configuration, run.seed))
    groups = groupby(ordered, key=lambda run: run.setting.configuration)
    found = [Point(configuration, tuple(group)) for configuration, group in groups]
    return tuple(sorted(found, key=lambda point: (point.flops, point.configuration)))


def frontier(runs: Sequence[Run]) -> tuple[Point, ...]:
    """The configurations on the lower envelope, by compute."""
    candidates = [point for point in points(runs) if point.converged]
    kept = on_frontier(np.array([p.flops for p in candidates]), np.array([p.loss for p in candidates]))
    return tuple(point for point, on in zip(candidates, kept, strict=True) if on)


def on_frontier(flops: Float64, loss: Float64) -> Bool:
    """Bool [n]: points with less loss than every point of at most their compute, up to EQUAL_COMPUTE.

    Not the convex hull: that would drop points which are the best for their money, only because better ones lie on
    both sides, and it is the best for each amount of money that the law speaks of (Hoffmann et al. 2022 section 3.1).
    """
    order = np.lexsort((loss, flops))
    costs, losses = flops[order], loss[order]
    lowest = np.minimum.accumulate(losses)
    cheaper = np.concatenate(([np.inf], lowest[:-1]))
    reach = np.searchsorted(costs, costs * EQUAL_COMPUTE, side="right") - 1
    kept = np.zeros(len(flops), dtype=np.bool_)
    kept[order] = (losses < cheaper) & (losses <= lowest[reach])
    return kept
