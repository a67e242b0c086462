"""The two views of a user that an objective compares: spans of events of the user's services."""

from dataclasses import dataclass

import numpy as np

from portrait.training.clue.batch import Sequences
from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.objective import ObjectiveName
from portrait.training.encoding.arrays import Int64

SHORTEST_CROP = 0.5  # of a sequence


@dataclass(frozen=True)
class Views:
    """Draws two sequences of each user; the draw depends on nothing but the users asked for and the generator.

    Across services: two whole services of a user, or the older and the newer half of the only one. Within one: two
    crops of a service. For categories: the two halves of a service. A service with a single event has neither.
    """

    histories: ServiceHistories
    objective: ObjectiveName

    @property
    def users(self) -> Int64:
        """The users who have two views: events in two services, or two events in one."""
        counts = np.bincount(self.histories.user)
        longest = np.zeros(len(counts), np.int64)
        np.maximum.at(longest, self.histories.user, self.histories.lengths)
        several = counts >= 2 if self.objective == ObjectiveName.CROSS_SERVICE else np.zeros(len(counts), bool)
        return np.flatnonzero(several | (longest >= 2))

    def draw(self, users: Int64, rng: np.random.Generator) -> tuple[Sequences, Sequences]:
        """Two padded sequences of each user, in the order of `users`."""
        if self.objective == ObjectiveName.SAME_SERVICE:
            one = self._one(*self._sequences(users), rng)
            return self._crop(one, rng), self._crop(one, rng)
        older, newer = self.spans(users, rng)
        return self.histories.padded(*older), self.histories.padded(*newer)

    def spans(self, users: Int64, rng: np.random.Generator) -> tuple[tuple[Int64, Int64], tuple[Int64, Int64]]:
        """(begins [n], ends [n]) of the events in each user's two views: two services, or the halves of one."""
        first, count = self._sequences(users)
        # Two different services each; where there is only one, the numbers drawn are of no use.
        a = np.floor(rng.random(len(users)) * count).astype(np.int64)
        b = np.floor(rng.random(len(users)) * (count - 1)).astype(np.int64)
        b += b >= a
        one = self._one(first, count, rng)
        begins, ends = self.histories.starts[:-1], self.histories.starts[1:]
        middle = begins[one] + (ends - begins)[one] // 2
        apart = (count >= 2) & (self.objective == ObjectiveName.CROSS_SERVICE)
        a, b = first + np.where(apart, a, 0), first + np.where(apart, b, 0)
        older = np.where(apart, begins[a], begins[one]), np.where(apart, ends[a], middle)
        newer = np.where(apart, begins[b], middle), np.where(apart, ends[b], ends[one])
        return older, newer

    def _sequences(self, users: Int64) -> tuple[Int64, Int64]:
        """The first sequence of each user, and how many there are."""
        first = np.searchsorted(self.histories.user, users)
        count: Int64 = np.searchsorted(self.histories.user, users, side="right") - first
        return first, count

    def _one(self, first: Int64, count: Int64, rng: np.random.Generator) -> Int64:
        """A sequence of each user that has two events, each of them equally likely; the first, where there is none."""
        draws = rng.random((len(first), int(count.max(initial=1))))
        inside = np.arange(draws.shape[1]) < count[:, None]
        places = np.where(inside, first[:, None] + np.arange(draws.shape[1]), 0)
        long_enough = inside & (self.histories.starts[places + 1] - self.histories.starts[places] >= 2)
        chosen: Int64 = first + np.argmax(np.where(long_enough, draws, -1.0), axis=1)
        return chosen

    def _crop(self, sequences: Int64, rng: np.random.Generator) -> Sequences:
        """A part of each sequence, at least half of it, shuffled."""
        begins = self.histories.starts[sequences]
        lengths = self.histories.starts[sequences + 1] - begins
        shortest = np.maximum(np.ceil(lengths * SHORTEST_CROP), 1)
        sizes = np.floor(shortest + rng.random(len(sequences)) * (lengths - shortest + 1)).astype(np.int64)
        starts = begins + np.floor(rng.random(len(sequences)) * (lengths - sizes + 1)).astype(np.int64)
        return self.histories.padded(starts, starts + sizes, rng)
