"""Users written down as plain lists, and as the arrays that histories are made from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from portrait.training.clue.histories import ServiceHistories
from portrait.training.encoding.arrays import Events, Picks, UserArrays

SECOND = 1_000_000


@dataclass(frozen=True)
class User:
    """Events as (time in microseconds, service, item, action), oldest first; picks as items. -1 is unknown."""

    events: Sequence[tuple[int, int, int, int]] = ()
    picks: Sequence[int] = ()


def arrays(users: Sequence[User]) -> UserArrays:
    rows = [(place, *event) for place, user in enumerate(users) for event in user.events]
    user, time, service, item, action = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    picks = [(place, item) for place, user in enumerate(users) for item in user.picks]
    picker, picked = np.array(picks, dtype=np.int64).reshape(-1, 2).T
    unused = np.zeros(len(rows))
    nobody = np.zeros(len(users), np.int64)
    events = Events(user, item, service, action, item, time, unused)
    return UserArrays(nobody, events, Picks(picker, picked), nobody, {}, {}, {})


def histories(users: Sequence[User], longest: int = 9) -> ServiceHistories:
    return ServiceHistories.from_arrays(arrays(users), longest)


def simple(*lengths: Sequence[int]) -> ServiceHistories:
    """Users with so many events in each of their services; the items are 0, 1, 2, ... of the table."""
    item = iter(range(10_000))
    return histories(
        [
            User([(n * SECOND, service, next(item), 0) for service, count in enumerate(counts) for n in range(count)])
            for counts in lengths
        ],
        longest=10_000,
    )
