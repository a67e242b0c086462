"""Metrics of classification, and bootstrap intervals over users."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from portrait.registry.errors import InvalidInput
from portrait.training.encoding.arrays import UNKNOWN, Bool, Float32, Float64, Int64

LEAST = 1e-7  # a probability below it is taken for this: one certain mistake is not infinitely bad
RESAMPLES = 1_000
BLOCK = 50  # resamples of means that are held at once
LOW, HIGH = 2.5, 97.5  # per cent


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap's 95% interval."""

    value: float
    low: float
    high: float
    resamples: tuple[float, ...] = ()  # the value in each of them; equal users make equal resamples

    @classmethod
    def from_resamples(cls, value: float, resamples: Float64) -> Self:
        """The interval that values of resamples span; those without a value do not count."""
        known = resamples[np.isfinite(resamples)]
        low, high = np.percentile(known, (LOW, HIGH)) if len(known) else (np.nan, np.nan)
        return cls(value, float(low), float(high), tuple(resamples.tolist()))


def log_loss(scores: Float32, codes: Int64) -> float:
    """Mean of -log of the probability of the true class; examples of no known class do not count."""
    known = codes != UNKNOWN
    true = np.take_along_axis(scores[known], codes[known, None], axis=1).astype(np.float64)
    return float(-np.log(true.clip(min=LEAST)).mean()) if len(true) else float("nan")


def accuracy(scores: Float32, codes: Int64) -> float:
    """Share of examples whose most probable class is theirs; one of no known class is a miss."""
    return float((scores.argmax(axis=1) == codes).mean()) if len(codes) else float("nan")


def auc(scores: Float32, codes: Int64) -> float:
    """Area under the ROC curve: of the second of two classes; of more, the mean over each class against the others.

    Classes that all or none of the examples have do not count; NaN when none is left.
    """
    return float(_Curves(scores, codes).areas(np.ones((1, len(codes))))[0])


def measures(scores: Float32, codes: Int64) -> dict[str, float]:
    """AUC, accuracy and log loss, without those that are undefined for the examples."""
    found = {"auc": auc(scores, codes), "accuracy": accuracy(scores, codes), "log_loss": log_loss(scores, codes)}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def auc_interval(scores: Float32, codes: Int64, users: Sequence[str], seed: int = 0) -> Interval:
    """AUC with its interval over resampled users: all examples of a user come and go together.

    Raises InvalidInput when there are not two classes among the examples.
    """
    curves = _Curves(scores, codes)
    value = float(curves.areas(np.ones((1, len(codes))))[0])
    if not np.isfinite(value):
        raise InvalidInput("there are not examples of two classes to measure AUC on: give more rows")
    rng = np.random.default_rng(seed)
    _, owner = np.unique(np.asarray(users, dtype=np.str_), return_inverse=True)
    draws = [float(curves.areas(_resample_counts(rng, owner)[None])[0]) for _ in range(RESAMPLES)]
    return Interval.from_resamples(value, np.array(draws))


def mean_interval(values: Float64, owner: Int64, seed: int = 0) -> Interval:
    """The mean of values [n], with its 95% interval; `owner` int64 [n] is the user of each."""
    _, owner = np.unique(owner, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner).astype(np.float64)
    users = len(sums)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, RESAMPLES, BLOCK):
        drawn = rng.integers(users, size=(BLOCK, users))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return Interval.from_resamples(float(values.mean()), np.concatenate(means))


def _resample_counts(rng: np.random.Generator, owner: Int64) -> Int64:
    """[n] how often the user of each example is in one resample."""
    people = int(owner.max()) + 1
    drawn: Int64 = np.bincount(rng.integers(people, size=people), minlength=people)[owner]
    return drawn


class _Curves:
    """The order of the scores, found once for all resamples."""

    def __init__(self, scores: Float32, codes: Int64) -> None:
        columns = range(1, 2) if scores.shape[1] == 2 else range(scores.shape[1])
        truths = ((codes == column, scores[:, column]) for column in columns)
        self._curves = [_Curve(truth, score) for truth, score in truths if truth.any() and not truth.all()]

    def areas(self, weights: npt.NDArray[np.integer] | Float64) -> Float64:
        """[m] means over the classes for weights [m, n] of the examples."""
        if not self._curves:
            return np.full(len(weights), np.nan)
        found: Float64 = np.mean([curve.areas(weights) for curve in self._curves], axis=0)
        return found


class _Curve:
    """One class against the others."""

    def __init__(self, truth: Bool, scores: Float32) -> None:
        self._order = np.argsort(scores, kind="stable")
        ranked = scores[self._order]
        self._truth = truth[self._order]
        self._starts = np.flatnonzero(np.diff(ranked, prepend=ranked[:1] - 1))  # of each run of equal scores

    def areas(self, weights: npt.NDArray[np.integer] | Float64) -> Float64:
        """Chance that one of the class scores above one of the others, ties by half."""
        ranked = weights[:, self._order]
        own, others = (np.add.reduceat(ranked * mask, self._starts, axis=1) for mask in (self._truth, ~self._truth))
        above = (own * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
        pairs = own.sum(axis=1) * others.sum(axis=1)
        with np.errstate(invalid="ignore"):
            found: Float64 = np.where(pairs > 0, above / pairs, np.nan)
        return found
