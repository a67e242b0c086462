"""Sealing: rows of the inbox move to segments, judged against the log as the rows of a file are.

The rows keep their positions. Anyone may seal: the commit that shows the segments deletes the same rows from the inbox,
and is given up and tried again when somebody else has committed segments in between.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from portrait.feature_repo.ingest import event_files as events
from portrait.feature_repo.ingest import items
from portrait.feature_repo.ingest.ingest_report import write_late_rejects
from portrait.feature_repo.ingest.keyed_rows import current_rows
from portrait.feature_repo.ingest.record_fields import UnfitRecord
from portrait.feature_repo.ingest.records import settled_value
from portrait.feature_repo.log import profiles
from portrait.feature_repo.log.duck import Duck, name
from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import InboxRecord, read_inbox
from portrait.feature_repo.log.manifest import Manifest, Segment, SegmentKind, lock_buckets, manifest_of, segment_row
from portrait.feature_repo.log.segments import new_ingest_id, write_segments
from portrait.feature_repo.log.staging import working_folder
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.schemas import EVENTS, plain_times
from portrait.registry.errors import Conflict

Key = tuple[str, ...]
Row = dict[str, Any]


def complete_rows(
    arrived: Iterable[tuple[int, Row]],
    keys: Sequence[str],
    current: Mapping[Key, Row],
    columns: Sequence[str],
    unchanged_too: bool,
) -> Iterator[tuple[int, Row]]:
    """(position, whole row) of the arrived rows in their order: of all rows, or only of those that change something.

    `current` has the row of each key before the first arrived one.
    """
    rows = dict(current)
    for position, given in arrived:
        key = tuple(given[name] for name in keys)
        before = rows.get(key)
        after = {name: given.get(name, before[name] if before else None) for name in columns}
        if unchanged_too or after != before:
            rows[key] = after
            yield position, after


ATTEMPTS = 20
MOST_ROWS = 200_000
"""Rows sealed in one commit; an inbox that has grown beyond takes several."""

POSITION = pa.field("position", pa.int64())


@dataclass(frozen=True)
class LateReject:
    """A row that was accepted, and that the log cannot hold after all."""

    record: InboxRecord
    reason: str


@dataclass(frozen=True)
class SealReport:
    """Counts of one call of `seal`."""

    rows: int = 0  # rows that left the inbox
    kept: int = 0  # those that are in segments now; the others were known already, or changed nothing
    taken: tuple[str, ...] = ()  # users of accepted rows that are rejected now: to be rebuilt


def seal(
    log: EventLog, buckets: Collection[int] | None = None, within: Callable[[Session], None] | None = None
) -> SealReport:
    """Move all rows that the inbox holds of some buckets, or of all, to segments.

    `within` is called in each commit and may raise. Raises Conflict when others were faster many times in a row.
    """
    done, attempts = SealReport(), 0
    while records := read_inbox(log.database, buckets, MOST_ROWS):
        sealed = _seal(log, records, within)
        attempts = 0 if sealed else attempts + 1
        if sealed:
            done = SealReport(done.rows + sealed.rows, done.kept + sealed.kept, done.taken + sealed.taken)
        elif attempts == ATTEMPTS:
            raise Conflict(f"other ingests were faster {ATTEMPTS} times in a row: try again when they are done")
        if len(records) < MOST_ROWS and sealed:
            break
    return done


def sealed_manifest(log: EventLog, buckets: Collection[int] | None = None) -> Manifest:
    """The manifest once no row of the inbox precedes a row of a segment: it is complete up to each position."""
    for _ in range(ATTEMPTS):
        seal(log, buckets)
        with log.database.reading() as session:
            manifest = manifest_of(session)
            ends: dict[int, int] = defaultdict(int)
            for segment in manifest.segments:
                ends[segment.bucket] = max(ends[segment.bucket], segment.last_position)
            firsts = select(InboxRow.bucket, func.min(InboxRow.position)).group_by(InboxRow.bucket)
            left = session.execute(firsts).all()
        if not any(position < ends[bucket] for bucket, position in left if buckets is None or bucket in buckets):
            return manifest
    raise Conflict("other ingests go on without end: try again when they are done")


def _seal(log: EventLog, records: list[InboxRecord], within: Callable[[Session], None] | None) -> SealReport | None:
    """The report of one commit; None when the log has moved meanwhile."""
    manifest = log.manifest()
    by_kind: dict[SegmentKind, list[InboxRecord]] = defaultdict(list)
    for record in records:
        by_kind[record.kind].append(record)
    ingest = new_ingest_id(datetime.now(UTC))
    segments: list[Segment] = []
    late: list[LateReject] = []
    committed, rejects = False, list[Path]()
    with working_folder(log.home, ingest) as working:  # killed in here, the files of this name are swept
        try:
            with log.duck() as duck:
                for kind, rows in by_kind.items():
                    if kind == SegmentKind.EVENTS:
                        written, unfit = _seal_events(duck, log, ingest, manifest, rows)
                    else:
                        written, unfit = _seal_keyed_rows(duck, log, ingest, manifest, kind, rows)
                    segments += written
                    late += unfit
            for folder in {(log.home / segment.path).parent for segment in segments}:
                sync(folder)
            for reason in sorted({one.reason for one in late}):
                payloads = [one.record.payload for one in late if one.reason == reason]
                rejects.append(write_late_rejects(log.home, working, payloads, reason))
            committed = _commit(log, segments, manifest, records, within)
        finally:
            if not committed:
                _discard(log.home, segments)
                for path in rejects:  # it may name a user who was forgotten meanwhile
                    path.unlink(missing_ok=True)
    if not committed:
        return None
    kept = sum(segment.rows for segment in segments)
    return SealReport(len(records), kept, tuple(sorted({one.record.user_id or "" for one in late})))


def _commit(
    log: EventLog,
    segments: Sequence[Segment],
    judged: Manifest,
    records: Sequence[InboxRecord],
    within: Callable[[Session], None] | None,
) -> bool:
    last: dict[int, int] = {}
    for record in records:
        last[record.bucket] = max(last.get(record.bucket, 0), record.position)
    now = datetime.now(UTC)
    with log.database.transaction() as session:
        locked = lock_buckets(session, last)
        gone = 0
        for bucket, position in last.items():
            rows = (InboxRow.bucket == bucket) & (InboxRow.position <= position)
            gone += session.execute(delete(InboxRow).where(rows)).rowcount  # type: ignore[attr-defined]
        if judged.moved({bucket: row.commits for bucket, row in locked.items()}, last) or gone != len(records):
            session.rollback()
            return False
        for segment in segments:
            session.add(segment_row(segment, now))
            locked[segment.bucket].commits += 1
        if within is not None:
            within(session)
    return True


def _seal_events(
    duck: Duck, log: EventLog, ingest: str, manifest: Manifest, records: list[InboxRecord]
) -> tuple[list[Segment], list[LateReject]]:
    rows = orjson.loads("[" + ",".join(record.payload for record in records) + "]")
    arrived = pa.table(
        {
            "row": pa.array(range(1, len(rows) + 1), pa.int64()),
            "bucket": pa.array([record.bucket for record in records], pa.int64()),
            "position": pa.array([record.position for record in records], pa.int64()),
            **{
                field.name: pa.array(column, field.type)
                for field, column in zip(EVENTS, zip(*rows, strict=True), strict=True)
            },
        }
    )
    duck.register("arrived", arrived)
    duck.execute("CREATE OR REPLACE TEMP TABLE arriving AS FROM arrived")
    duck.execute("CREATE OR REPLACE TEMP TABLE foreign_rows (row BIGINT)")
    known = manifest.segments_of(SegmentKind.EVENTS, set(arrived["bucket"].to_pylist()))
    verdicts = events.judge(duck, log.home, known, log.settings.clamp_clocks)
    rejected = duck.execute("SELECT row FROM judged WHERE verdict = 'rejected'").fetchall()
    taken = [LateReject(records[row - 1], events.TAKEN) for (row,) in rejected]
    if not verdicts.get("accepted"):
        return [], taken
    schema = pa.schema([*EVENTS, POSITION])
    columns = ", ".join(schema.names)
    accepted = duck.execute(
        f"SELECT bucket, {columns} FROM judged WHERE verdict = 'accepted' ORDER BY bucket, position"
    ).to_arrow_table()
    return _write(log.home, SegmentKind.EVENTS, ingest, schema, accepted), taken


def _seal_keyed_rows(
    duck: Duck, log: EventLog, ingest: str, manifest: Manifest, kind: SegmentKind, records: list[InboxRecord]
) -> tuple[list[Segment], list[LateReject]]:
    arrived = [(record, orjson.loads(record.payload)) for record in records]
    committed = manifest.segments_of(kind, {record.bucket for record in records})
    keys, columns, schema = _layout(log.home, kind, manifest, [row for _, row in arrived])
    unfit: list[LateReject] = []
    if kind == SegmentKind.USERS:
        arrived, unfit = _settle(arrived, columns)
    current = _current_rows(duck, log.home, committed, keys, columns, schema, [row for _, row in arrived])
    whole = []
    for bucket in sorted({record.bucket for record in records}):
        rows = ((record.position, row) for record, row in arrived if record.bucket == bucket)
        # A profile that says nothing new counts: the refresh gives its user's vectors this position.
        changed = complete_rows(rows, keys, current, schema.names, unchanged_too=kind == SegmentKind.USERS)
        whole += [row | {"bucket": bucket, "position": position} for position, row in changed]
    if not whole:
        return [], unfit
    stored = pa.schema([*schema, POSITION])
    table = pa.Table.from_pylist(whole, pa.schema([pa.field("bucket", pa.int64()), *stored]))
    return _write(log.home, kind, ingest, stored, table), unfit


def _settle(
    arrived: list[tuple[InboxRecord, Row]], columns: Mapping[str, str]
) -> tuple[list[tuple[InboxRecord, Row]], list[LateReject]]:
    """The rows in the types that their columns have now, and those that do not fit: a file has settled a type since."""
    fit, unfit = [], []
    for record, row in arrived:
        try:
            settled = {
                column: settled_value(value, column, columns[column])
                for column, value in row.items()
                if column in columns and column not in profiles.STORED_FIXED
            }
            fit.append((record, row | settled))
        except UnfitRecord as error:
            unfit.append(LateReject(record, str(error)))
    return fit, unfit


def _layout(
    home: Path, kind: SegmentKind, manifest: Manifest, rows: Sequence[dict[str, object]]
) -> tuple[tuple[str, ...], dict[str, str], pa.Schema]:
    """Keys, DuckDB types and Arrow schema of the table."""
    if kind == SegmentKind.USERS:
        known = profiles.further_columns(home, manifest.segments_of(kind))
        return profiles.USERS_KEYS, profiles.STORED_FIXED | known, profiles.stored_schema(profiles.STORED_FIXED | known)
    vectors = {column for row in rows for column in row if column.startswith(items.VECTOR)}
    columns = items.items_columns(sorted({*items.vector_columns(home, manifest.segments_of(kind)), *vectors}))
    return items.ITEMS_KEYS, columns, items.items_schema(columns)


def _current_rows(
    duck: Duck,
    home: Path,
    committed: Sequence[Segment],
    keys: tuple[str, ...],
    columns: dict[str, str],
    schema: pa.Schema,
    arrived: Sequence[dict[str, object]],
) -> dict[tuple[str, ...], dict[str, object]]:
    """The rows of these keys in the segments, by key, with times in microseconds."""
    duck.register("wanted", pa.table({key: pa.array([row[key] for row in arrived], pa.string()) for key in keys}))
    names, on = ", ".join(map(name, columns)), ", ".join(keys)
    rows = duck.execute(
        f"SELECT {names} FROM {current_rows(home, committed, columns, keys)} SEMI JOIN wanted USING ({on})"
    ).to_arrow_table()
    whole = plain_times(rows.select(schema.names).cast(schema)).to_pylist()
    return {tuple(row[key] for key in keys): row for row in whole}


def _write(home: Path, kind: SegmentKind, ingest: str, schema: pa.Schema, rows: pa.Table) -> list[Segment]:
    """One positioned segment a bucket, with the positions that its rows have already."""
    spans = rows.group_by("bucket").aggregate([("position", "min"), ("position", "max")]).to_pylist()
    of_bucket = {span["bucket"]: (span["position_min"], span["position_max"]) for span in spans}
    written = write_segments(home, kind, ingest, schema, rows.to_batches())
    return [
        replace(s, first_position=of_bucket[s.bucket][0], last_position=of_bucket[s.bucket][1], positioned=True)
        for s in written
    ]


def _discard(home: Path, segments: Sequence[Segment]) -> None:
    for segment in segments:
        (home / segment.path).unlink(missing_ok=True)
