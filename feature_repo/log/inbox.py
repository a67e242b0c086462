"""The inbox of single records: a record is in the log as soon as its row here has committed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from time import time_ns
from typing import NamedTuple

import orjson
from sqlalchemy import JSON, BigInteger, ColumnElement, TextClause, cast, func, insert, select
from sqlalchemy.orm import Session

from portrait.feature_repo.log.forgotten import ASKED_AT_ONCE, Forgotten
from portrait.feature_repo.log.manifest import SegmentKind, lock_buckets
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.schemas import from_microseconds
from portrait.registry.database.database import Database
from portrait.registry.errors import Conflict


class InboxOutcome(StrEnum):
    """The outcome of a record that was sent to the inbox."""

    ACCEPTED = "accepted"
    KNOWN = "known"  # the same event is in the inbox already: accepted, once
    TAKEN = "taken"  # its id belongs to another event
    FORGOTTEN = "forgotten"  # its user was forgotten
    DELETED = "deleted"  # an event that was deleted


@dataclass(frozen=True)
class ArrivingRecord:
    """A good record on its way into the log.

    `payload` is JSON, and the same content gives the same text. Events: a list of user_id, item_id, event_time (µs),
    service, action, weight, event_id. Users and items: an object of the columns that were given.
    A `clamped` event has the time of its receipt, because the given time lies too far after it.
    """

    kind: SegmentKind
    bucket: int
    payload: str
    user_id: str | None = None
    event_id: str | None = None
    clamped: bool = False


Within = Callable[[Session, Sequence[InboxOutcome]], None]
"""A callback inside the transaction that accepts records."""


class InboxRecord(NamedTuple):
    """A record in the inbox."""

    bucket: int
    position: int
    kind: SegmentKind
    user_id: str | None
    payload: str
    accepted_at: int  # microseconds since 1970


def read_inbox(database: Database, buckets: Collection[int] | None, most: int) -> list[InboxRecord]:
    """The first `most` records of some buckets, or of all, by bucket and position."""
    with database.reading() as session:
        return select_inbox(session, None if buckets is None else InboxRow.bucket.in_(buckets), most)


def select_inbox(session: Session, where: ColumnElement[bool] | TextClause | None, most: int) -> list[InboxRecord]:
    """The first `most` records that fulfil a condition, by bucket and position."""
    columns = (InboxRow.bucket, InboxRow.position, InboxRow.kind, InboxRow.user_id, InboxRow.payload)
    statement = select(*columns, InboxRow.accepted_at).order_by(InboxRow.bucket, InboxRow.position).limit(most)
    if where is not None:
        statement = statement.where(where)
    return [
        InboxRecord(b, p, SegmentKind(kind), user, payload, at)
        for b, p, kind, user, payload, at in session.execute(statement)
    ]


def inbox_users(database: Database) -> list[str]:
    """The users that records in the inbox name."""
    with database.reading() as session:
        named = select(InboxRow.user_id).where(InboxRow.user_id.is_not(None)).distinct()
        return [user for user in session.scalars(named) if user is not None]


def count_inbox(database: Database) -> int:
    """Number of records that are in no segment yet."""
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(InboxRow)) or 0


def newest_in_inbox(database: Database) -> datetime | None:
    """Time of the newest event that is in no segment yet; None without any."""
    if database.is_sqlite:
        time: ColumnElement[int] = func.json_extract(InboxRow.payload, "$[2]")
    else:
        time = cast(cast(InboxRow.payload, JSON)[2].as_string(), BigInteger)
    with database.reading() as session:
        found = session.scalar(select(func.max(time)).where(InboxRow.kind == SegmentKind.EVENTS.value))
    return None if found is None else from_microseconds(int(found))


class Inbox:
    """Accepts records, many in one transaction, in the order given.

    `clamps`: events may have been clamped. Sent again, such an event has a later time: it is known all the same.
    """

    def __init__(self, database: Database, forgotten: Forgotten, clamps: bool = False) -> None:
        self._database = database
        self._forgotten = forgotten
        self._clamps = clamps

    def accept(self, records: Sequence[ArrivingRecord], within: Within | None = None) -> list[InboxOutcome]:
        """Commit the new records, and return the outcome of each; events that a segment holds already are found later.

        `within` is called with the outcomes in the same transaction, before the commit, and may raise. Raises
        Unavailable, with nothing accepted.
        """
        for _ in range(3):
            try:
                with self._database.transaction() as session:
                    outcomes = self._accept(session, records)
                    if within is not None:
                        within(session, outcomes)
                    return outcomes
            except Conflict as error:
                if error.__cause__ is None:  # raised by `within`; those of the database have one
                    raise
                # Another process has just accepted an event of this id for another bucket.
        raise Conflict("events with the same ids arrive at two gateways at once: send them again")

    def _accept(self, session: Session, records: Sequence[ArrivingRecord]) -> list[InboxOutcome]:
        buckets = lock_buckets(session, {record.bucket for record in records})
        # Read behind the locks: a forgetting waits for them, or its tombstone is seen here.
        forgotten = self._forgotten.among(session, {r.user_id for r in records if r.user_id is not None})
        event_ids = {r.event_id for r in records if r.event_id is not None}
        deleted = self._forgotten.events_among(session, event_ids)
        known = _payloads(session, event_ids)
        outcomes, rows = [], []
        now = time_ns() // 1000
        for record in records:
            outcome = _outcome(record, known, forgotten, deleted, self._clamps)
            outcomes.append(outcome)
            if outcome is not InboxOutcome.ACCEPTED:
                continue
            if record.event_id is not None:
                known[record.event_id] = record.payload
            bucket = buckets[record.bucket]
            rows.append(
                {
                    "bucket": record.bucket,
                    "position": bucket.next_position,
                    "kind": record.kind.value,
                    "event_id": record.event_id,
                    "user_id": record.user_id,
                    "payload": record.payload,
                    "accepted_at": now,
                }
            )
            bucket.next_position += 1
        if rows:
            session.execute(insert(InboxRow), rows)
        return outcomes


def _payloads(session: Session, event_ids: Iterable[str]) -> dict[str, str]:
    """Payloads of the events in the inbox that have one of these ids."""
    ids, found = list(event_ids), {}
    for start in range(0, len(ids), ASKED_AT_ONCE):
        some = InboxRow.event_id.in_(ids[start : start + ASKED_AT_ONCE])
        rows = session.execute(select(InboxRow.event_id, InboxRow.payload).where(some))
        found.update({event_id: payload for event_id, payload in rows if event_id is not None})
    return found


def _outcome(
    record: ArrivingRecord, known: Mapping[str, str], forgotten: set[str], deleted: set[str], clamps: bool
) -> InboxOutcome:
    if record.user_id in forgotten:
        return InboxOutcome.FORGOTTEN
    if record.event_id in deleted:
        return InboxOutcome.DELETED
    if record.event_id is None or record.event_id not in known:
        return InboxOutcome.ACCEPTED
    former = known[record.event_id]
    same = former == record.payload or (clamps and _is_only_later(record.payload, former))
    return InboxOutcome.KNOWN if same else InboxOutcome.TAKEN


def _is_only_later(payload: str, former: str) -> bool:
    """Whether an event differs from a former one by a later time alone."""
    user, item, time, *rest = orjson.loads(payload)
    former_user, former_item, former_time, *former_rest = orjson.loads(former)
    return time >= former_time and (user, item, rest) == (former_user, former_item, former_rest)
