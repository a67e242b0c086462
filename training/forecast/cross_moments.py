"""Second moments of pairs of columns, summed chunk by chunk: all that a linear solution needs of the users."""

from typing import Self

import numpy as np

from portrait.training.encoding.arrays import Float32, Float64


class CrossMoments:
    """Sums over users of x, of t, and of the products x x^T, x t^T and t t^T."""

    def __init__(self, x: int, t: int = 0) -> None:
        self.count = 0
        self.x, self.t = np.zeros(x), np.zeros(t)
        self.xx, self.xt, self.tt = np.zeros((x, x)), np.zeros((x, t)), np.zeros(t)

    def add(self, x: Float32, t: Float32 | None = None) -> None:
        """Count users in: float32 [n, x], and [n, t] where there are targets. A chunk is multiplied in float32."""
        self.count += len(x)
        self.x += x.sum(axis=0, dtype=np.float64)
        self.xx += x.T @ x
        if t is not None:
            self.t += t.sum(axis=0, dtype=np.float64)
            self.xt += x.T @ t
            self.tt += np.square(t).sum(axis=0, dtype=np.float64)

    def __add__(self, other: Self) -> "CrossMoments":
        total = CrossMoments(len(self.x), len(self.t))
        for name in ("count", "x", "t", "xx", "xt", "tt"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total

    @property
    def mean(self) -> Float64:
        """[x]"""
        mean: Float64 = self.x / max(self.count, 1)
        return mean

    @property
    def covariance(self) -> Float64:
        """[x, x]"""
        found: Float64 = self.xx / max(self.count, 1) - np.outer(self.mean, self.mean)
        return found

    @property
    def cross(self) -> Float64:
        """[x, t] covariance of both."""
        found: Float64 = self.xt / max(self.count, 1) - np.outer(self.mean, self.t / max(self.count, 1))
        return found

    @property
    def variance(self) -> Float64:
        """[t]"""
        found: Float64 = np.maximum(self.tt / max(self.count, 1) - (self.t / max(self.count, 1)) ** 2, 0)
        return found


def ridge(covariance: Float64, cross: Float64, strength: float) -> Float64:
    """[x, t] coefficients of the regression of t on x; `strength` is a share of the mean variance of x."""
    size = len(covariance)
    added = strength * max(float(np.trace(covariance)), 1e-12) / max(size, 1)
    solved: Float64 = np.linalg.solve(covariance + added * np.eye(size), cross).astype(np.float64)
    return solved


def principal(covariance: Float64, count: int) -> tuple[Float64, Float64]:
    """The `count` largest variances, and [n, count] their directions, each with its largest entry positive."""
    variances, directions = np.linalg.eigh(covariance)
    largest = np.argsort(-variances, kind="stable")[:count]
    chosen: Float64 = directions[:, largest].astype(np.float64)
    signs = np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])])
    return np.maximum(variances[largest], 0), chosen * np.where(signs == 0, 1, signs)
