"""The power law of loss over compute, with the intervals of its fit."""

import math
from dataclasses import dataclass, field

import numpy as np

from portrait.training.encoding.arrays import Float64
from portrait.training.scaling.frontier import Point

COVERAGE = 0.95
_NOISE_SEED = 0


@dataclass(frozen=True)
class PercentileInterval:
    """The middle 95% of a number's resamplings."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class PowerLaw:
    """L(C) = irreducible + coefficient x C^-exponent, in nats, with C in FLOPs (CLUE; form of Hoffmann et al. 2022)."""

    irreducible: float  # L_inf >= 0: what no amount of compute takes away
    coefficient: float  # a > 0
    exponent: float  # b > 0
    frontier: tuple[Point, ...]  # what it was fitted to
    scatter: float  # deviation of a point from the law, in log loss
    r_squared: float  # of log loss over the frontier
    draws: Float64 = field(repr=False, compare=False)  # [n, 3] irreducible, log coefficient, exponent of resampled runs
    warnings: tuple[str, ...] = ()

    @property
    def least(self) -> float:
        """FLOPs of the cheapest point."""
        return self.frontier[0].flops

    @property
    def most(self) -> float:
        """FLOPs of the dearest point."""
        return self.frontier[-1].flops

    @property
    def decades(self) -> float:
        """Powers of ten of compute between the two."""
        return float(np.log10(self.most / self.least))

    @property
    def run_scatter(self) -> float:
        """Deviation of a single run from the law, in log loss: that of a point is of a mean over its seeds."""
        return self.scatter * math.sqrt(math.fsum(len(point.runs) for point in self.frontier) / len(self.frontier))

    @property
    def intervals(self) -> dict[str, PercentileInterval]:
        """The interval of each parameter by its name, from the resampled runs."""
        irreducible, log_coefficient, exponent = self.draws.T
        return {
            "irreducible": interval(irreducible),
            "coefficient": interval(np.exp(log_coefficient)),
            "exponent": interval(exponent),
        }

    def loss(self, flops: float) -> float:
        """Expected loss of a frontier run of this compute."""
        return float(self.irreducible + self.coefficient * flops**-self.exponent)

    def confidence(self, flops: float) -> PercentileInterval:
        """The interval of the law at this compute, from the resampled runs."""
        return interval(self._drawn(flops))

    def prediction(self, flops: float) -> PercentileInterval:
        """The interval of a single new run: wider than `confidence` by the scatter of runs around the law."""
        noise = np.random.default_rng(_NOISE_SEED).normal(scale=self.run_scatter, size=(20, len(self.draws)))
        return interval((self._drawn(flops) * np.exp(noise)).ravel())

    def residual(self, point: Point) -> float:
        """The point's loss above the law's, as a share of the latter."""
        return point.loss / self.loss(point.flops) - 1

    def decades_outside(self, flops: float) -> float:
        """Powers of ten between this compute and the nearest fitted point; 0 among the points."""
        return max(0.0, float(np.log10(flops / self.most)), float(np.log10(self.least / flops)))

    def _drawn(self, flops: float) -> Float64:
        irreducible, log_coefficient, exponent = self.draws.T
        drawn: Float64 = irreducible + np.exp(log_coefficient - exponent * np.log(flops))
        return drawn


def interval(values: Float64) -> PercentileInterval:
    """The middle 95% of these values."""
    low, high = np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return PercentileInterval(float(low), float(high))
