"""CLUE's transfer task: rank one service's items for users by what they did in it, in their other services, or both.

Training, validation and test users are disjoint, and the encoder has seen the training users only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from portrait.registry.errors import InvalidInput
from portrait.training.encoding.arrays import UNKNOWN, Bool, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.evaluation.event_choice import owners, with_events, without_picks
from portrait.training.metrics.user_split import UserPart, part_of

LABELS = 5  # newest events of the service that a training user gives; the others give their newest
FEWEST = 20  # users of each part


class Seen(StrEnum):
    """The services whose events a user's vector is made from."""

    OWN = "own"  # the service itself, before the event that is asked for
    OTHER = "other"
    BOTH = "both"


@dataclass(frozen=True)
class ServiceExamples:
    """n users, each at one event of the service; a user may be there several times."""

    users: pa.Table  # n rows in the columns of `snapshot.read`, whole histories
    target: Int64  # [n] place of the event among the flattened list columns of `users`
    item: Int64  # [n] column of its item
    hidden: csr_array  # bool [n, items] items that the user had before: nobody needs them recommended

    def __len__(self) -> int:
        return len(self.item)

    def seen(self, service: str, what: Seen, clock: bool) -> pa.Table:
        """The users with the events that may be seen: those before the one that is asked for.

        Without a `clock` that the services share, the order between them is unknown, and all other events are seen.
        """
        flat = self.users["services"].combine_chunks().flatten()
        own = np.asarray(pc.equal(flat, service))
        before = np.arange(len(own)) < self.target[owners(self.users)]
        other = ~own & before if clock else ~own
        kept = {Seen.OWN: own & before, Seen.OTHER: other, Seen.BOTH: other | (own & before)}[what]
        return without_picks(with_events(self.users, kept))


@dataclass(frozen=True)
class CrossServiceRanking:
    """Rank the items of `service`; `items` are those that anybody outside the test has had."""

    service: str
    items: Vocabulary
    popularity: Int64  # [items] training users who had it
    parts: dict[UserPart, ServiceExamples]


def training_users(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The users whom an encoder may see; the others are left out whole."""
    for table in tables:
        mine = [part_of(user) == UserPart.TRAIN for user in table["user_id"].to_pylist()]
        yield table.filter(pa.array(mine, pa.bool_()))


def cross_service_task(users: pa.Table, service: str) -> CrossServiceRanking:
    """The task over users with events in the service and in another.

    Raises InvalidInput when there are too few of them.
    """
    flat = users["services"].combine_chunks().flatten()
    own = np.asarray(pc.equal(flat, service)) if len(flat) else np.zeros(0, bool)
    if not own.any():
        there = ", ".join(sorted(flat.unique().to_pylist())) or "none"
        raise InvalidInput(f"nobody has events in {service!r}; the services are: {there}")
    owner = owners(users)
    counts = np.bincount(owner, minlength=users.num_rows)
    mine = np.bincount(owner[own], minlength=users.num_rows)
    part = np.array([part_of(user) for user in users["user_id"].to_pylist()])
    items = users["item_ids"].combine_chunks().flatten()
    known = items.filter(pa.array(own & (part != UserPart.TEST)[owner]))
    vocabulary = Vocabulary(sorted(set(known.to_pylist())))
    codes = vocabulary.encode(items)
    eligible = (mine > 0) & (counts > mine)
    parts = {}
    for one in UserPart:
        rows = np.flatnonzero(eligible & (part == one))
        if len(rows) < FEWEST:
            raise InvalidInput(
                f"{len(rows)} {one} users have events in {service} and in another service, the task needs {FEWEST}: "
                "ingest more events, or choose another --target"
            )
        parts[one] = _examples(users.take(rows), service, vocabulary, LABELS if one == UserPart.TRAIN else 1)
    return CrossServiceRanking(
        service, vocabulary, _popularity(owner, codes, own & (part == UserPart.TRAIN)[owner]), parts
    )


def _examples(users: pa.Table, service: str, vocabulary: Vocabulary, most: int) -> ServiceExamples:
    """The newest events of each user in the service whose items are known, at most so many."""
    services, items = (users[name].combine_chunks().flatten() for name in ("services", "item_ids"))
    codes = np.where(np.asarray(pc.equal(services, service)), vocabulary.encode(items), UNKNOWN)
    owner = owners(users)
    places = np.flatnonzero(codes != UNKNOWN)
    ends = np.searchsorted(owner[places], np.arange(users.num_rows), side="right")
    newest = ends[owner[places]] - np.arange(len(places)) <= most
    places = places[newest]
    rows, at = owner[places], np.arange(len(places))
    starts = np.searchsorted(owner, np.arange(users.num_rows))
    # Users are taken once for each of their events, so places move to where their copy's events begin.
    copies = users.take(rows)
    lengths = np.bincount(owner, minlength=users.num_rows)[rows]
    begins = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    target = begins + places - starts[rows]
    copied = np.concatenate([codes[starts[row] : place] for row, place in zip(rows, places, strict=True)])
    of = np.repeat(at, places - starts[rows])
    had = (copied != UNKNOWN) & (copied != codes[places][of])
    marks = np.ones(int(had.sum()), dtype=bool)
    hidden = csr_array((marks, (of[had], copied[had])), shape=(len(places), len(vocabulary)))
    return ServiceExamples(copies, target, codes[places], hidden)


def _popularity(owner: Int64, codes: Int64, counted: Bool) -> Int64:
    """[items] users who had each item, among the marked events."""
    items = int(codes.max(initial=0)) + 1
    pairs = np.unique(owner[counted] * items + codes[counted])
    return np.bincount(pairs % items, minlength=items).astype(np.int64)
