"""Activity, recency, rhythm and shares of a user's events: the context beside the item vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np

from portrait.training.encoding.arrays import DAY_US, UNKNOWN, Events, Float32, Float64, Int64, UserArrays

HOUR_US = DAY_US // 24
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday, Monday is 0


class Rings:
    """Events by age: ring 0 is the shortest window, ring k what window k adds, the last ring is older than all.

    Windows are nested, so sums over a window are running sums over its rings: each event is touched once.
    """

    def __init__(self, users: UserArrays, windows: Int64) -> None:
        events = users.events
        self.users = len(users)
        self.count = len(windows) + 1
        self.age = users.as_of[events.user] - events.time  # > 0: windows are [as_of - w, as_of)
        self.ring = np.searchsorted(windows, self.age, side="left")
        # Within a user events ascend in time, so rings descend: numbered backwards, bags ascend.
        self.bag = events.user * self.count + (self.count - 1 - self.ring)
        self.active = np.bincount(events.user, minlength=self.users) > 0

    def newest_first(self, bags: Float32) -> Float32:
        """[users * rings, k] as [users, rings, k], ring 0 first."""
        return bags.reshape(self.users, self.count, bags.shape[-1])[:, ::-1]

    def totals(self, weights: Float64 | None = None, keep: Any = slice(None)) -> Float64:
        """[users, windows + 1]: sums over the events in each window, and over all."""
        chosen = None if weights is None else weights[keep]
        bags = np.bincount(self.bag[keep], chosen, minlength=self.users * self.count).astype(np.float64)
        return np.cumsum(bags.reshape(self.users, self.count)[:, ::-1], axis=1)


ACTIVITY: tuple[Callable[[Events, Rings], Float64], ...] = (
    lambda _, rings: rings.totals(),
    lambda events, rings: rings.totals(keep=last_of_day(events)),
    lambda events, rings: rings.totals(keep=_last_of_item(events)),
    lambda events, rings: rings.totals(events.weight),
)
"""Per window and over all: events, active days, distinct items, summed weight."""


def activity(users: UserArrays, rings: Rings) -> Float64:
    """[n, 4 * (windows + 1)] logarithms of the ACTIVITY measures."""
    return log(np.column_stack([count(users.events, rings) for count in ACTIVITY]))


def recency(users: UserArrays, rings: Rings) -> Float64:
    """[n, 2] logarithms of the days since the last and since the first event."""
    days = rings.age / DAY_US
    newest, oldest = np.full(len(users), np.inf), np.zeros(len(users))
    np.minimum.at(newest, users.events.user, days)
    np.maximum.at(oldest, users.events.user, days)
    return log(np.column_stack([newest, oldest]))


def moments_after(user: Int64, time: Int64) -> Int64:
    """[events] number of later distinct times at which the same user has events; simultaneous events get the same."""
    if not len(user):
        return np.empty(0, np.int64)
    begins = np.append(False, (time[1:] != time[:-1]) | (user[1:] != user[:-1]))
    moment = np.cumsum(begins)
    last = np.searchsorted(user, user, side="right") - 1  # of the same user
    after: Int64 = moment[last] - moment
    return after


def last_of_day(events: Events) -> Int64:
    """The last event of each user and day: a day is in a window if its last event is."""
    day = events.time // DAY_US
    last = np.append((day[1:] != day[:-1]) | (events.user[1:] != events.user[:-1]), True)
    return np.flatnonzero(last[: len(day)])


def _last_of_item(events: Events) -> Int64:
    """The last event of each user and item: an item is in a window if its last event is."""
    if not len(events.user):
        return np.empty(0, np.int64)
    keys = events.user * (events.distinct.max() + 1) + events.distinct
    _, backwards = np.unique(keys[::-1], return_index=True)
    return len(keys) - 1 - backwards


def rhythm(events: Events, n: int) -> Float64:
    """[n, 24 + 7] shares of the hours and weekdays, UTC."""
    hour = events.time // HOUR_US % 24
    weekday = (events.time // DAY_US + EPOCH_WEEKDAY) % 7
    return np.concatenate([shares(events.user, hour, n, 24), shares(events.user, weekday, n, 7)], axis=1)


def shares(user: Int64, code: Int64, n: int, size: int) -> Float64:
    """[n, size] share of each code among a user's events that have one."""
    if size == 0:
        return np.empty((n, 0))
    known = code != UNKNOWN
    flat = np.bincount(user[known] * size + code[known], minlength=n * size)
    counts: Float64 = flat.reshape(n, size).astype(np.float64)
    found: Float64 = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return found


def log(values: Float64) -> Float64:
    """The signed logarithm of 1 + |x|: counts, weights and days spread over orders of magnitude."""
    return np.sign(values) * np.log1p(np.abs(values))
