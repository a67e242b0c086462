"""Blocks of hand-made features, as a team would write them: windows, shares, favourites, habits.

A block names its numbers and computes them for many users at once; nothing in it is learnt but the vocabularies.
"""

import re
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.baseline import Suits, as_float32
from portrait.training.baselines.window_counts import LONG_AGO, WINDOW_COUNTS, window_counts
from portrait.training.blocks.context import rhythm, shares
from portrait.training.encoding.arrays import DAY_US, Bool, Events, Float32, Float64, Int64, UserArrays
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.evaluation.tasks.methods import Method
from portrait.training.runs.training_inputs import TrainingInputs

HOURS, WEEKDAYS = 24, 7


class HandMadeBlock(Protocol):
    """Hand-made features of one idea."""

    def names(self, bags: Bags) -> list[str]:
        """One name for each number, valid in Feast."""
        ...

    def numbers(self, users: UserArrays, bags: Bags) -> Float64:
        """float64 [n, names], finite."""
        ...


@dataclass(frozen=True)
class Windows:
    """Events, days, items and weight in 7, 30, 90, 180 days and in all; ages; of all services, or of one."""

    service: str | None = None

    def names(self, bags: Bags) -> list[str]:
        before = "" if self.service is None else f"{_plain(self.service)}_"
        return [before + name for name in WINDOW_COUNTS]

    def numbers(self, users: UserArrays, bags: Bags) -> Float64:
        """Logarithms; an age that is unknown is beyond all windows."""
        if self.service is not None:
            code = _services(bags).values.index(self.service) if self.service in _services(bags).values else -2
            users = replace(users, events=_some(users.events, users.events.service == code))
        found = window_counts(users).astype(np.float64)
        return np.where(np.isnan(found), LONG_AGO, found)


@dataclass(frozen=True)
class Shares:
    """Shares of the services and actions among events, in the last days or in all."""

    days: int | None = None

    def names(self, bags: Bags) -> list[str]:
        """Share of each service, then of each action."""
        within = "all" if self.days is None else f"{self.days}d"
        known = bags.batcher.vocabularies
        pairs = (("service", known.services.values), ("action", known.actions.values))
        return [f"share_{what}_{_plain(value)}_{within}" for what, values in pairs for value in values]

    def numbers(self, users: UserArrays, bags: Bags) -> Float64:
        """Shares that sum to 1 over services, and over actions; zeros without events."""
        events, known = _within(users, self.days), bags.batcher.vocabularies
        codes = ((events.service, len(known.services)), (events.action, len(known.actions)))
        return np.concatenate([shares(events.user, code, len(users), size) for code, size in codes], axis=1)


@dataclass(frozen=True)
class TopItems:
    """Counts of the user's events with each of the most used items."""

    count: int
    days: int | None = None

    def names(self, bags: Bags) -> list[str]:
        within = "all" if self.days is None else f"{self.days}d"
        return [f"item_{rank}_{within}" for rank in range(1, min(self.count, len(bags.items)) + 1)]

    def numbers(self, users: UserArrays, bags: Bags) -> Float64:
        """Logarithms of counts."""
        counts = bags.weighed(replace(users, events=_within(users, self.days)), None)[:, : self.count]
        found: Float64 = np.log1p(counts.toarray().astype(np.float64))
        return found


@dataclass(frozen=True)
class Hours:
    """At which hours and on which weekdays the user comes."""

    def names(self, bags: Bags) -> list[str]:
        """Hours of UTC, then weekdays from Monday."""
        return [*(f"hour_{hour:02d}" for hour in range(HOURS)), *(f"weekday_{day}" for day in range(WEEKDAYS))]

    def numbers(self, users: UserArrays, bags: Bags) -> Float64:
        """Shares of the user's events."""
        found: Float64 = rhythm(users.events, len(users))
        return found


@dataclass(frozen=True)
class Habits:
    """Weight of the user's events, and how regular they are."""

    def names(self, bags: Bags) -> list[str]:
        """Weights of events; events a day of activity; days between events."""
        return ["weight_mean", "weight_greatest", "events_a_day", "days_between", "days_between_greatest"]

    def numbers(self, users: UserArrays, bags: Bags) -> Float64:
        """Logarithms; zeros without events."""
        events, n = users.events, len(users)
        count = np.maximum(np.bincount(events.user, minlength=n), 1)
        weight = np.abs(events.weight)
        mean = np.bincount(events.user, weight, minlength=n) / count
        greatest, longest = np.zeros(n), np.zeros(n)
        np.maximum.at(greatest, events.user, weight)
        same = events.user[1:] == events.user[:-1]
        gap = np.diff(events.time)[same] / DAY_US
        np.maximum.at(longest, events.user[1:][same], gap)
        days = np.bincount(events.user[1:][same], gap >= 1, minlength=n) + 1
        between = np.bincount(events.user[1:][same], gap, minlength=n) / np.maximum(count - 1, 1)
        found: Float64 = np.log1p(np.column_stack([mean, greatest, count / days, between, longest]))
        return found


def _within(users: UserArrays, days: int | None) -> Events:
    if days is None:
        return users.events
    events = users.events
    return _some(events, users.as_of[events.user] - events.time <= days * DAY_US)


def _some(events: Events, kept: Bool) -> Events:
    return Events(**{field.name: getattr(events, field.name)[kept] for field in fields(events)})


def _services(bags: Bags) -> Vocabulary:
    return bags.batcher.vocabularies.services


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower() or "other"


NAME = "curated"


@dataclass(frozen=True)
class CuratedFeatures:
    """A `UserFeatures` of blocks side by side."""

    bags: Bags
    blocks: tuple[HandMadeBlock, ...]

    @property
    def names(self) -> list[str]:
        """One name for each column of the features."""
        return [name for block in self.blocks for name in block.names(self.bags)]

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        arrays = self.bags.arrays(users, as_of)
        return as_float32(np.concatenate([block.numbers(arrays, self.bags) for block in self.blocks], axis=1))


@dataclass(frozen=True)
class CuratedMethod(Method):
    """A team's features under the head that suits tables of numbers: gradient boosting; two towers for items."""

    name: str = NAME
    suits: Suits = Suits.BOOSTING
    blocks: tuple[HandMadeBlock, ...] = ()

    def features(self, inputs: TrainingInputs, seed: int) -> CuratedFeatures:
        """Nothing is learnt but which items, services and actions there are."""
        return CuratedFeatures(Bags.over(inputs), self.blocks)
