"""Regularity of a user's events: when the active days were, how far apart, and how much of it is recent.

Windows of counts say how much there was; heads on churn, return and spend ask for when. Gaps between active days and
active days a span are the "more numbers" with which a plain head reaches .774 on Online Retail (docs/log.md).
"""

import numpy as np

from portrait.training.blocks.context import Rings, last_of_day, log
from portrait.training.encoding.arrays import DAY_US, UNKNOWN, Float64, Int64, UserArrays

SPANS, SPAN_DAYS = 24, 30
HALF_LIVES_DAYS = (7, 14, 30, 90, 180, 365)
YEAR_DAYS = (365, 335), (365, 275)
"""The stretches of a year ago that the next 30 and the next 90 days correspond to: days before the as-of time."""

WIDTH = SPANS + 6 + 2 * len(HALF_LIVES_DAYS) + len(YEAR_DAYS)
PER_CODE = 4  # columns of each action or service


def regularity(users: UserArrays, rings: Rings) -> Float64:
    """[n, WIDTH] logarithms; zeros where a user has too few active days for a gap."""
    events, n = users.events, len(users)
    marks = last_of_day(events)
    user, age = events.user[marks], rings.age[marks] / DAY_US
    span = (age // SPAN_DAYS).astype(np.int64)
    recent = span < SPANS
    spans = np.bincount(user[recent] * SPANS + span[recent], minlength=n * SPANS).reshape(n, SPANS)
    decayed = [
        np.bincount(events.user, weight * 0.5 ** (rings.age / (DAY_US * days)), minlength=n)
        for weight in (np.ones(len(events.user)), events.weight)
        for days in HALF_LIVES_DAYS
    ]
    all_ages = rings.age / DAY_US
    years = [np.bincount(events.user[(all_ages <= start) & (all_ages > end)], minlength=n) for start, end in YEAR_DAYS]
    gaps = _gaps(user, age, n)
    basket = np.bincount(events.user, minlength=n) / np.maximum(np.bincount(user, minlength=n), 1)
    return log(np.column_stack([spans, gaps, basket, *decayed, *years]))


def _gaps(user: Int64, age: Float64, n: int) -> Float64:
    """[n, 5] mean, deviation, longest and newest gap between active days, and recency in units of the mean gap."""
    same = user[1:] == user[:-1]
    of, gap = user[1:][same], (age[:-1] - age[1:])[same]
    count = np.bincount(of, minlength=n)
    mean = np.bincount(of, gap, minlength=n) / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(np.bincount(of, gap**2, minlength=n) / np.maximum(count, 1) - mean**2, 0))
    longest, newest, recency = np.zeros(n), np.zeros(n), np.zeros(n)
    np.maximum.at(longest, of, gap)
    newest[of] = gap  # days ascend in time: the last one written is the newest
    recency[user] = age
    late = np.where(count > 0, recency / np.maximum(mean, 1.0), 0)
    return np.column_stack([mean, deviation, longest, newest, late])


def per_code(users: UserArrays, rings: Rings, code: Int64, size: int) -> Float64:
    """[n, PER_CODE * size] of each action or service: logarithms of the days since the last event of it, of how many
    there were, of those with a half-life of 90 days, and of their summed weight. Days of no event count as 0 events do:
    the column of counts tells them apart.
    """
    n, known = len(users), code != UNKNOWN
    place = users.events.user[known] * size + code[known]
    days = rings.age[known] / DAY_US
    recency = np.full(n * size, np.inf)
    np.minimum.at(recency, place, days)
    recency[np.isinf(recency)] = 0
    columns = [
        recency,
        np.bincount(place, minlength=n * size),
        np.bincount(place, 0.5 ** (days / 90), minlength=n * size),
        np.bincount(place, users.events.weight[known], minlength=n * size),
    ]
    return log(np.concatenate([column.reshape(n, size) for column in columns], axis=1))
