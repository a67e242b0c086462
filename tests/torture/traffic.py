"""Events of a round: from known and new users, out of order, with ids of their own."""

import numpy as np

from portrait.feature_repo.schemas import microseconds
from portrait.infra.generator import END, SERVICES, START, TASTES
from tests.torture.ledger import Event

NEW_USERS = 40
MOST_IN_REQUEST = 100
_FIRST, _LAST = microseconds(START), microseconds(END)
TIMES = ((_FIRST + _LAST) // 2, _LAST + (_LAST - _FIRST) // 4)
"""Event times: from the middle of the known log to some months after it."""


def events(seed: int, count: int, users: list[str]) -> list[Event]:
    """`count` events in an order that has nothing to do with their times; the same arguments give the same ones.

    One in ten is of a user whom the log does not know yet, one in ten has the same time as the one before.
    """
    rng = np.random.default_rng(seed)
    everybody = users + [f"new{seed}-{number:03d}" for number in range(NEW_USERS)]
    is_new = rng.random(count) < 0.1
    user = np.where(is_new, len(users) + rng.integers(NEW_USERS, size=count), rng.integers(len(users), size=count))
    time = rng.integers(*TIMES, size=count)
    same = np.flatnonzero(rng.random(count) < 0.1)
    time[same], user[same] = time[same - 1], user[same - 1]
    return [_event(rng, f"t{seed}-{number:06d}", everybody[user[number]], int(time[number])) for number in range(count)]


def batches(seed: int, whole: list[Event]) -> list[list[Event]]:
    """The events in requests of 1 to 100."""
    rng = np.random.default_rng(seed + 1)
    cut, at = [], 0
    while at < len(whole):
        size = int(rng.integers(1, MOST_IN_REQUEST + 1))
        cut.append(whole[at : at + size])
        at += size
    return cut


def late_event(seed: int, number: int, user: str) -> Event:
    """An event that is later than all of `events` and than those of smaller numbers."""
    time = TIMES[1] + (number + 1) * 60_000_000
    return Event(f"t{seed}-late-{number}", user, "music-0000", "music", "play", 1.0, time)


def _event(rng: np.random.Generator, event_id: str, user: str, time: int) -> Event:
    service = SERVICES[rng.integers(len(SERVICES))]
    action, weight = service.on_taste if rng.random() < 0.8 else service.off_taste
    # Items of the generated catalogue are numbered over all services.
    items = sum(one.items_per_taste for one in SERVICES) * len(TASTES)
    return Event(event_id, user, f"{service.name}-{rng.integers(items):04d}", service.name, action, weight, time)
