"""Intake of stream entries into the inbox: exactly once, by the shard that holds the lease of a stream's bucket."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.orm import Session

from portrait.feature_repo.broker.broker import BEGINNING, Broker, StreamEntry
from portrait.feature_repo.broker.records import BadEntry, kind_and_fields, write_bad_entries
from portrait.feature_repo.ingest.event_files import TAKEN
from portrait.feature_repo.ingest.record_fields import UnfitRecord
from portrait.feature_repo.ingest.records import RecordJudge, RejectedRecord
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.log.leases import Lease
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.rewriting import strike_forgotten
from portrait.feature_repo.log.tables import LeaseRow
from portrait.registry.errors import LeaseLost, Unavailable

COUNT = 500
"""Entries of each stream in one transaction."""

CLOCK_SKEW = 60.0
"""Seconds by which the clock of the gateway that accepted an event may be ahead of ours; no event is lost by that."""


@dataclass(frozen=True)
class IntakeReport:
    """The result of one call of `take_in`."""

    positions: Mapping[int, str]  # of the streams with entries: all up to here is in the inbox
    outcomes: Mapping[InboxOutcome, int]
    rejected: int  # in `rejects/`
    clamped: int = 0  # accepted events whose time lay too far in the future, and is that of their reading


def take_in(
    broker: Broker, log: EventLog, judge: RecordJudge, held: Mapping[int, Lease], count: int = COUNT, wait_ms: int = 0
) -> IntakeReport:
    """Take the next entries of the held buckets' streams into the inbox, and trim the streams.

    One transaction accepts the good records and notes the new positions in the leases; the bad ones are in `rejects/`
    before it commits. So after a crash at any point, entries that are read again from the lease's position are accepted
    once. Raises LeaseLost, with nothing accepted, when a bucket with entries is held by somebody else; and Unavailable.
    """
    before = {bucket: lease.stream_id or BEGINNING for bucket, lease in held.items()}
    entries = broker.read(before, count, wait_ms)
    if not entries:
        return IntakeReport({}, {}, 0)
    positions = {entry.bucket: entry.id for entry in entries}
    judged = _judge_entries(judge, entries)
    good = [(entry, one) for entry, one in zip(entries, judged, strict=True) if isinstance(one, ArrivingRecord)]
    bad = [
        BadEntry(entry, one.reason)
        for entry, one in zip(entries, judged, strict=True)
        if isinstance(one, RejectedRecord)
    ]
    rejected = 0
    written: list[Path] = []

    def within(session: Session, outcomes: Sequence[InboxOutcome]) -> None:
        nonlocal rejected, written
        _note(session, positions, held)
        taken = [
            BadEntry(entry, TAKEN) for (entry, _), one in zip(good, outcomes, strict=True) if one is InboxOutcome.TAKEN
        ]
        rejected, written = _keep(log, session, [*bad, *taken], before)

    try:
        outcomes = log.inbox.accept([arriving for _, arriving in good], within)
    finally:
        strike_forgotten(log, written)
    with suppress(Unavailable):  # the positions are noted; what is left is trimmed with the next entries
        broker.trim(positions)
    accepted = (arriving for (_, arriving), one in zip(good, outcomes, strict=True) if one is InboxOutcome.ACCEPTED)
    return IntakeReport(positions, Counter(outcomes), rejected, sum(arriving.clamped for arriving in accepted))


def trim_behind(broker: Broker, taken_over: Mapping[int, Lease]) -> None:
    """Delete the entries that an earlier holder took in and had no time to trim.

    To be called once for each lease that was taken over.
    """
    broker.trim({bucket: lease.stream_id for bucket, lease in taken_over.items() if lease.stream_id is not None})


def _judge_entries(judge: RecordJudge, entries: Sequence[StreamEntry]) -> list[ArrivingRecord | RejectedRecord]:
    judged = [_judge_entry(judge, entry) for entry in entries]
    if any(isinstance(one, RejectedRecord) and one.kind not in (None, SegmentKind.EVENTS) for one in judged):
        judge.known.refresh(at_once=True)  # a gateway may know a column that we have not read yet
        judged = [
            _judge_entry(judge, entry) if isinstance(one, RejectedRecord) else one
            for entry, one in zip(entries, judged, strict=True)
        ]
    return judged


def _judge_entry(judge: RecordJudge, entry: StreamEntry) -> ArrivingRecord | RejectedRecord:
    """Judge an entry as a request of its own: the id of an event without one must not depend on other entries."""
    try:
        kind, fields = kind_and_fields(entry.record)
    except UnfitRecord as unfit:
        return RejectedRecord(str(unfit))
    (one,) = judge.judge(kind, [fields], CLOCK_SKEW)
    return one


def _note(session: Session, positions: Mapping[int, str], held: Mapping[int, Lease]) -> None:
    for bucket, position in sorted(positions.items()):
        mine = (LeaseRow.bucket == bucket) & (LeaseRow.epoch == held[bucket].epoch)
        noted = session.execute(update(LeaseRow).where(mine).values(stream_id=position))
        if not noted.rowcount:  # type: ignore[attr-defined]
            raise LeaseLost(f"bucket {bucket} is in other hands: its stream is read there")


def _keep(
    log: EventLog, session: Session, bad: Sequence[BadEntry], before: Mapping[int, str]
) -> tuple[int, list[Path]]:
    """Write the bad entries, except those of forgotten users; returns how many, and the files."""
    forgotten = log.forgotten.among(session, {one.user_id for one in bad if one.user_id is not None})
    by_stream: dict[int, list[BadEntry]] = defaultdict(list)
    for one in bad:
        if one.user_id not in forgotten:
            by_stream[one.entry.bucket].append(one)
    written = []
    for bucket, some in by_stream.items():
        some.sort(key=lambda one: _order(one.entry.id))
        written.append(write_bad_entries(log.home, bucket, before[bucket], some))
    return sum(map(len, by_stream.values())), written


def _order(id: str) -> tuple[int, ...]:
    return tuple(map(int, id.split("-")))
