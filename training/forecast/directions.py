"""Directions of item vectors that tell users apart, in units of the noise within a user.

What one half of a user's history says of the other half is the user; the rest is which items happened to be there. The
directions solve C v = m N v, with C the covariance of the halves and N that of their difference: canonical correlation
of two views of one user (Hotelling, 1936), with N regularised. m is the variance between users over that within.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from portrait.training.blocks.blocks import BlockBuilder
from portrait.training.encoding.arrays import UNKNOWN, Float64, UserArrays
from portrait.training.forecast.cross_moments import CrossMoments
from portrait.training.forecast.targets import pool

FEWEST = 50  # users with two halves; with fewer of them the directions are those of the largest variance
LEAST = 0.01  # reliability of a direction that is kept


@dataclass(frozen=True)
class Directions:
    """`matrix` [dimensions, directions] maps pooled vectors to numbers whose variance is their reliability, 0 to 1."""

    matrix: Float64
    reliability: Float64

    def __len__(self) -> int:
        return len(self.reliability)


class Halves:
    """Moments of the pooled vectors of users, and of the difference between their two halves."""

    def __init__(self, builder: BlockBuilder) -> None:
        self.builder = builder
        width = sum(builder.layout.item_widths)
        self.whole, self.difference, self.half = CrossMoments(width), CrossMoments(width), CrossMoments(width)

    def add(self, users: UserArrays) -> None:
        """Count users in; every other event of a user belongs to the second half."""
        known = np.flatnonzero(users.events.item != UNKNOWN)
        owner = users.events.user[known]
        even = (np.arange(len(known)) - np.searchsorted(owner, owner)) % 2 == 0  # counted from the user's first event
        first, second = (pool(self.builder, users, known[side]) for side in (even, ~even))
        both = first.any(axis=1) & second.any(axis=1)
        self.difference.add(first[both] - second[both])
        self.half.add(np.concatenate([first[both], second[both]]))
        whole = pool(self.builder, users, known)
        self.whole.add(whole[whole.any(axis=1)])

    def directions(self, most: int, noise: float) -> Directions:
        """At most so many directions, the most reliable first; `noise` is a share of the mean variance."""
        spread = self.whole.covariance
        size = len(spread)
        if not size or not np.trace(spread) > 0:
            return Directions(np.zeros((size, 0)), np.zeros(0))
        added = noise * np.trace(spread) / size * np.eye(size)
        if self.difference.count >= FEWEST:
            within = self.difference.covariance / 2
            ratio, vectors = eigh(self.half.covariance - within, within + added)
        else:
            ratio, vectors = eigh(spread, added)
        order = np.argsort(-ratio, kind="stable")[:most]
        reliability = np.maximum(ratio[order], 0) / (1 + np.maximum(ratio[order], 0))
        kept = reliability > LEAST
        vectors, reliability = vectors[:, order][:, kept], reliability[kept]
        deviation = np.sqrt(np.maximum(np.einsum("ik,ij,jk->k", vectors, spread, vectors, optimize=True), 1e-12))
        return Directions(vectors / deviation * np.sqrt(reliability), reliability)
