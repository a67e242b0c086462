"""The reference: what histories, profiles and vectors must be, computed from the accepted rows in the plainest way."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

LENGTH = 3
"""Events that a history keeps in each service."""

DIMENSION = 8
PROFILE = ("created_time", "onboarding_items", "country")
USER, ITEM, TIME, SERVICE, ACTION, WEIGHT, ID = range(7)  # of an event's payload
LISTS = {"services": SERVICE, "item_ids": ITEM, "actions": ACTION, "weights": WEIGHT, "event_times": TIME}


@dataclass
class Known:
    """What the accepted rows say of one user."""

    user: str
    events: list[tuple[int, list[Any]]] = field(default_factory=list)  # position, payload; those of the history
    profile: dict[str, Any] = field(default_factory=dict)
    profiled: int = 0  # position of the last profile row
    newest: int = 0  # position of the last row

    @property
    def least(self) -> int:
        """The position of the last row that still counts: an online position is at least this, at most `newest`."""
        return max([self.profiled, *(position for position, _ in self.events)])

    @property
    def event_ids(self) -> list[str]:
        return [payload[ID] for _, payload in self.events]

    @property
    def later(self) -> int:
        """Just after all that is known, in microseconds."""
        created = self.profile.get("created_time")
        return max([0, *(payload[TIME] + 1 for _, payload in self.events), 0 if created is None else created + 1])

    def vector(self, version: str, as_of: int) -> NDArray[np.float32]:
        """The vector of the stand-in for a model."""
        lists = [[payload[place] for _, payload in self.events] for place in LISTS.values()]
        return vector_of(version, lists, self.event_ids, [self.profile.get(name) for name in PROFILE], as_of)


def vector_of(
    version: str, lists: Sequence[Sequence[Any]], event_ids: Sequence[str], profile: Sequence[Any], as_of: int
) -> NDArray[np.float32]:
    """float32 [DIMENSION]: a digest of everything that a model is given of one user."""
    given = repr((version, [list(one) for one in lists], list(event_ids), list(profile), as_of)).encode()
    return np.frombuffer(blake2b(given, digest_size=DIMENSION).digest(), np.uint8).astype(np.float32)


def fold_all(rows: Iterable[tuple[int, str, str, str]], up_to: int | None = None) -> dict[str, Known]:
    """What rows (position, kind, user, payload) of one bucket say, by user; all of them, or those up to a position."""
    found: dict[str, Known] = {}
    for position, kind, user, payload in sorted(rows):
        if up_to is not None and position > up_to:
            break
        known = found.setdefault(user, Known(user))
        known.newest = position
        content = orjson.loads(payload)
        if kind == "events":
            known.events.append((position, content))
        else:
            known.profile |= {name: value for name, value in content.items() if name != "user_id"}
            known.profiled = position
    for known in found.values():
        kept: list[tuple[int, list[Any]]] = []
        for service in {payload[SERVICE] for _, payload in known.events}:
            mine = [one for one in known.events if one[1][SERVICE] == service]
            kept += sorted(mine, key=_placed)[-LENGTH:]
        known.events = sorted(kept, key=_placed)
    return found


def _placed(event: tuple[int, list[Any]]) -> tuple[int, str]:
    return event[1][TIME], event[1][ID]


def read_rows(raw: sqlite3.Connection, bucket: int) -> list[tuple[int, str, str, str]]:
    """The accepted rows of a bucket, as they are in the log now."""
    return raw.execute(
        "SELECT position, kind, user_id, payload FROM inbox WHERE bucket = ? AND user_id IS NOT NULL", (bucket,)
    ).fetchall()
