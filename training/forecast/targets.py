"""What happened to users after a moment of the past: the targets of the forecast."""

from collections.abc import Sequence

import numpy as np

from portrait.feature_repo.schemas import microseconds
from portrait.training.blocks.blocks import BlockBuilder
from portrait.training.blocks.context import log
from portrait.training.encoding.arrays import DAY_US, UNKNOWN, Float32, UserArrays
from portrait.training.runs.training_inputs import TrainingInputs

MOST_ACTIONS = 4  # the most frequent ones, which are forecast apart


def horizons_of(inputs: TrainingInputs, wanted: Sequence[int]) -> list[int]:
    """The horizons in days with as much of the past before them as they are long; none without a clock."""
    span = (inputs.as_of - (inputs.data_from or inputs.as_of)).total_seconds() / 86_400
    return [days for days in wanted if 2 * days <= span]


def past_cuts(inputs: TrainingInputs, horizon_days: int, most: int) -> list[int]:
    """Past times, microseconds since 1970, whose horizon ends before the as-of time: newest first, a horizon apart."""
    since = microseconds(inputs.data_from or inputs.as_of)
    cuts = (inputs.as_of_us - horizon_days * DAY_US * number for number in range(1, most + 1))
    return [cut for cut in cuts if cut - horizon_days * DAY_US >= since]


def future_numbers(users: UserArrays, cut: int, horizons: Sequence[int], actions: int) -> Float32:
    """[n, numbers] by horizon: whether there is an event, logarithms of events, active days and weight, and per action.

    `users` are as of a time at the end of the longest horizon, or after it.
    """
    events, n = users.events, len(users)
    age = events.time - cut
    day = events.time // DAY_US
    first = np.append(True, (day[1:] != day[:-1]) | (events.user[1:] != events.user[:-1]))[: len(day)]
    columns = []
    for days in horizons:
        within = (age >= 0) & (age < days * DAY_US)
        count = np.bincount(events.user[within], minlength=n).astype(np.float64)
        active = np.bincount(events.user[within & first], minlength=n).astype(np.float64)
        weight = np.bincount(events.user[within], events.weight[within], minlength=n).astype(np.float64)
        columns += [count > 0, log(count), log(active), log(weight)]
        for action in range(_apart(actions)):
            times = np.bincount(events.user[within & (events.action == action)], minlength=n).astype(np.float64)
            columns += [times > 0, log(times)]
    return np.column_stack(columns).astype(np.float32)


def future_width(horizons: Sequence[int], actions: int) -> int:
    """The number of columns of `future_numbers`."""
    return len(horizons) * (4 + 2 * _apart(actions))


def _apart(actions: int) -> int:
    return min(actions, MOST_ACTIONS) if actions > 1 else 0


def future_items(users: UserArrays, cut: int, horizon_days: int, builder: BlockBuilder) -> Float32:
    """[n, dimensions] pooled vectors of the items of the horizon, the modalities side by side; 0 without any."""
    events, age = users.events, users.events.time - cut
    within = (age >= 0) & (age < horizon_days * DAY_US) & (events.item != UNKNOWN)
    return pool(builder, users, within)


def pool(builder: BlockBuilder, users: UserArrays, chosen: np.ndarray) -> Float32:
    """[n, dimensions] pooled vectors of the chosen events' items, which are all known; 0 without any."""
    sums = builder.items.sums(users.events.item[chosen], users.events.user[chosen], len(users))
    return np.nan_to_num(np.concatenate(builder.divided(sums), axis=1))
