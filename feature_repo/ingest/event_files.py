"""Events files: their canonical rows, the judging of these against the log, and their segments.

A file is staged once, then judged and written group by group. A group is a run of buckets with a bounded number of
rows, so that memory does not grow with the file.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from portrait.feature_repo.ingest.arrival import Arrival, JudgingContext
from portrait.feature_repo.ingest.cells import (
    EARLIEST,
    IDS,
    is_given,
    number_cell,
    text_cell,
    text_fault,
    time_cell,
)
from portrait.feature_repo.ingest.ingest_report import Rejects, TableReport
from portrait.feature_repo.ingest.record_fields import LARGEST_FLOAT32
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.duck import Duck, scalar
from portrait.feature_repo.log.forgotten import DELETED, Tombstones
from portrait.feature_repo.log.manifest import Manifest, Segment, SegmentKind
from portrait.feature_repo.log.partition import BUCKETS, bucket_sql
from portrait.feature_repo.log.segments import BATCH_ROWS, write_segments
from portrait.feature_repo.schemas import EVENT_TYPES, EVENTS
from portrait.feature_repo.settings import FeatureSettings

EVENTS_NEEDED = ("user_id", "item_id", "event_time")
DEFAULT_SERVICE = "default"
DEFAULT_ACTION = "view"
DEFAULT_WEIGHT = 1.0


def canonical_events(source: Source, now: datetime, ahead: float, clamps: bool) -> str:
    """A SELECT of `row, bucket`, the columns of EVENTS, `given_time` and `reason` (null when the row is good).

    Times may lie `ahead` seconds after `now`; later ones are rejected or, with `clamps`, become `now`. `event_id` is
    null where the file gives none. Raises InvalidInput for a column of an unfit type.
    """
    late = is_future("given_time", now + timedelta(seconds=ahead))
    return f"""
        SELECT row, {bucket_sql("user_id")} AS bucket, user_id, item_id, given_time,
               {f"CASE WHEN {late} THEN {time_sql(now)} ELSE given_time END" if clamps else "given_time"} AS event_time,
               coalesce(service, '{DEFAULT_SERVICE}') AS service, coalesce(action, '{DEFAULT_ACTION}') AS action,
               -- adding zero makes -0.0 equal to 0.0 in the id's text too
               CASE WHEN reason IS NULL THEN coalesce(weight, {DEFAULT_WEIGHT})::FLOAT + 0::FLOAT END AS weight,
               event_id, reason
        FROM (SELECT *, {_reason("false" if clamps else late)} AS reason FROM (
            SELECT row,
                   {text_cell(source, "user_id")} AS user_id,
                   {text_cell(source, "item_id")} AS item_id,
                   {time_cell(source, "event_time")} AS given_time,
                   {is_given(source, "event_time")} AS time_given,
                   {text_cell(source, "service")} AS service,
                   {text_cell(source, "action")} AS action,
                   {number_cell(source, "weight")} AS weight,
                   {is_given(source, "weight")} AS weight_given,
                   {text_cell(source, "event_id")} AS event_id,
                   coalesce({", ".join(text_fault(source, column) for column in IDS)}) AS text_fault
            FROM {source.rows}))"""


def is_future(column: str, now: datetime) -> str:
    """Whether a time lies after `now`."""
    return f"{column} > {time_sql(now)}"


def time_sql(time: datetime) -> str:
    """A time as DuckDB reads it."""
    return f"TIMESTAMPTZ '{time.isoformat(sep=' ')}'"


def _reason(late: str) -> str:
    return f"""CASE
        WHEN text_fault IS NOT NULL THEN text_fault
        WHEN user_id IS NULL THEN 'user_id is null or empty'
        WHEN item_id IS NULL THEN 'item_id is null or empty'
        WHEN NOT time_given THEN 'event_time is null or empty'
        WHEN given_time IS NULL THEN 'event_time is not a time'
        WHEN given_time < {EARLIEST} THEN 'event_time lies before 1900'
        WHEN {late} THEN 'event_time lies in the future'
        WHEN weight_given AND weight IS NULL THEN 'weight is not a number'
        WHEN NOT isfinite(weight) OR abs(weight) >= {LARGEST_FLOAT32} THEN 'weight is not finite'
    END"""


GROUP_ROWS = 500_000
PAYLOAD = ("user_id", "item_id", "event_time", "service", "action", "weight")
TAKEN = "event_id is known with another payload"


@dataclass(frozen=True)
class Group:
    """A run of buckets, both ends included, that is judged and written together."""

    first: int
    last: int

    @property
    def buckets(self) -> range:
        return range(self.first, self.last + 1)


@dataclass(frozen=True)
class JudgedGroup:
    """The result of a group's rows; the rejected ones are in the table `refused_rows`."""

    segments: list[Segment]
    accepted: int
    duplicates: int
    clamped: int  # of the accepted ones


def stage_events(duck: Duck, source: Source, now: datetime, ahead: float, clamps: bool) -> None:
    """Read the file once into the table `staged_events`; raises duckdb.Error when it cannot be read to its end."""
    duck.execute(f"CREATE TABLE staged_events AS {canonical_events(source, now, ahead, clamps)}")
    duck.execute("CREATE TABLE refused_rows (first_bucket INTEGER, row BIGINT, reason VARCHAR)")
    duck.execute("CREATE TABLE foreign_rows (row BIGINT)")


def groups_of(duck: Duck) -> list[Group]:
    """The staged good rows as runs of buckets with at most GROUP_ROWS rows each, or with a single bucket."""
    counted = duck.execute(
        "SELECT bucket, count(*) FROM staged_events WHERE reason IS NULL GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    groups: list[Group] = []
    held = 0
    for bucket, rows in counted:
        if groups and held + rows <= GROUP_ROWS:
            groups[-1] = Group(groups[-1].first, bucket)
            held += rows
        else:
            groups.append(Group(bucket, bucket))
            held = rows
    return groups


def has_own_ids(duck: Duck) -> bool:
    """Whether the file brings ids of its own; only these can be the ids of other users' events."""
    return scalar(duck, "SELECT count(*) FROM staged_events WHERE reason IS NULL AND event_id IS NOT NULL") > 0


def note_foreign_ids(duck: Duck, home: Path, manifest: Manifest) -> None:
    """Fill the table `foreign_rows` with the rows whose id belongs to an event of another bucket.

    An id belongs to the event of the log that has it, or else to the first row of the file that has it.
    """
    logged = rows_of(
        home, manifest.segments_of(SegmentKind.EVENTS), {"event_id": "VARCHAR", "user_id": "VARCHAR"}, positions=False
    )
    duck.execute(f"""
        CREATE OR REPLACE TABLE foreign_rows AS
        WITH own AS (SELECT row, bucket, event_id FROM staged_events WHERE reason IS NULL AND event_id IS NOT NULL),
        known AS (
            SELECT event_id, {bucket_sql("user_id")} AS bucket FROM {logged}
            WHERE event_id IN (SELECT event_id FROM own)),
        spread AS (
            SELECT event_id, arg_min(bucket, row) AS bucket FROM own
            GROUP BY event_id HAVING min(bucket) <> max(bucket)),
        owner AS (FROM known UNION ALL (FROM spread WHERE event_id NOT IN (SELECT event_id FROM known)))
        SELECT own.row FROM own JOIN owner USING (event_id) WHERE own.bucket <> owner.bucket""")


def judge_and_write(
    duck: Duck, home: Path, ingest: str, group: Group, judging: JudgingContext, clamps: bool
) -> JudgedGroup:
    """Tell new rows from duplicates, deleted events and rows with another event's id, and write the new ones."""
    manifest = judging.manifest
    duck.execute(f"DELETE FROM refused_rows WHERE first_bucket = {group.first}")
    _identify(duck, group)
    _refuse_deleted(duck, group, judging.forgotten)
    counts = judge(duck, home, manifest.segments_of(SegmentKind.EVENTS, group.buckets), clamps)
    duck.execute(
        f"INSERT INTO refused_rows SELECT {group.first}, row, '{TAKEN}' FROM judged WHERE verdict = 'rejected'"
    )
    segments = _write(duck, home, ingest) if counts.get("accepted") else []
    clamped = scalar(
        duck,
        "SELECT count(*) FROM judged JOIN staged_events USING (row) "
        "WHERE verdict = 'accepted' AND given_time > judged.event_time",
    )
    return JudgedGroup(segments, counts.get("accepted", 0), counts.get("duplicate", 0), clamped)


def _identify(duck: Duck, group: Group) -> None:
    # Every text goes in with its length, so that no two rows read the same. Of the times the given one counts: the next
    # ingest of the file makes the same id.
    parts = [f"strlen({column}), ':', {column}" for column in ("user_id", "service", "item_id", "action")]
    payload = ", ".join([*parts, "weight", "' '", "epoch_us(given_time)", "' '", "ordinal"])
    given = ", ".join(("given_time" if column == "event_time" else column) for column in PAYLOAD)
    duck.execute(f"""
        CREATE OR REPLACE TEMP TABLE arriving AS
        SELECT row, bucket, {", ".join(PAYLOAD)}, coalesce(event_id, md5(concat({payload}))) AS event_id
        FROM (SELECT *, row_number() OVER identical - 1 AS ordinal FROM staged_events
              WHERE reason IS NULL AND bucket BETWEEN {group.first} AND {group.last}
              WINDOW identical AS (PARTITION BY event_id IS NULL, {given} ORDER BY row))""")


def _refuse_deleted(duck: Duck, group: Group, tombstones: Tombstones) -> None:
    if tombstones.of_events:
        ids = duck.execute("SELECT event_id FROM arriving").fetchall()
        refused = sorted(tombstones.events_among(id for (id,) in ids))
        deleted = "FROM arriving WHERE list_contains(?, event_id)"
        duck.execute(f"INSERT INTO refused_rows SELECT {group.first}, row, '{DELETED}' {deleted}", [refused])
        duck.execute(f"DELETE {deleted}", [refused])


def judge(duck: Duck, home: Path, segments: Sequence[Segment], clamps: bool = False) -> dict[str, int]:
    """Compare the rows of `arriving` with the segments and with each other.

    Fills the table `judged`, whose `verdict` is "accepted", "duplicate" or "rejected"; returns the rows of each
    verdict. `clamps`: events may have been clamped, so an event with a later time is a duplicate too.
    """
    compared = [column for column in PAYLOAD if not (clamps and column == "event_time")]
    payload = "{" + ", ".join(f"'{column}': {column}" for column in compared) + "}"
    alike = f"{payload} = first_value({payload}) OVER same_id"
    if clamps:
        alike += " AND event_time >= first_value(event_time) OVER same_id"
    columns = ", ".join((*PAYLOAD, "event_id"))
    # Events of the log come before any row of the file: row 0. The first one of an id owns it.
    duck.execute(f"""
        CREATE OR REPLACE TEMP TABLE judged AS
        WITH known AS (SELECT {columns} FROM {rows_of(home, segments, EVENT_TYPES, positions=False)}
                       WHERE event_id IN (SELECT event_id FROM arriving)),
        candidates AS (SELECT 0 AS row, NULL AS bucket, {columns} FROM known UNION ALL BY NAME FROM arriving),
        repeated AS (SELECT event_id FROM candidates GROUP BY event_id HAVING count(*) > 1),
        ranked AS (
            SELECT row, row_number() OVER same_id AS rank, {alike} AS alike
            FROM candidates WHERE event_id IN (FROM repeated)
            WINDOW same_id AS (PARTITION BY event_id ORDER BY row))
        SELECT arriving.*, CASE
            WHEN row IN (SELECT row FROM foreign_rows) THEN 'rejected'
            WHEN ranked.rank IS NULL OR ranked.rank = 1 THEN 'accepted'
            WHEN alike THEN 'duplicate'
            ELSE 'rejected' END AS verdict
        FROM arriving LEFT JOIN ranked USING (row)""")
    return dict(duck.execute("SELECT verdict, count(*) FROM judged GROUP BY ALL").fetchall())


def _write(duck: Duck, home: Path, ingest: str) -> list[Segment]:
    columns = ", ".join(EVENTS.names)
    reader = duck.execute(
        f"SELECT bucket, {columns} FROM judged WHERE verdict = 'accepted' ORDER BY bucket, event_time, event_id"
    ).to_arrow_reader(BATCH_ROWS)
    return write_segments(home, SegmentKind.EVENTS, ingest, EVENTS, reader)


ALL_BUCKETS = frozenset(range(BUCKETS))


class EventsArrival(Arrival):
    """An events file."""

    def __init__(self, duck: Duck, settings: FeatureSettings, ingest: str, source: Source, now: datetime) -> None:
        super().__init__(duck, settings, ingest, source, now)
        self._clamps = settings.clamp_clocks
        with self.reading():
            stage_events(duck, source, now, settings.max_clock_ahead, self._clamps)
        self._own_ids = has_own_ids(duck)
        self._groups = groups_of(duck)
        self._judged: dict[Group, JudgedGroup] = {}

    @staticmethod
    def reads(column: str) -> bool:
        """The columns of an event."""
        return column in EVENTS.names

    def judge(self, judging: JudgingContext) -> None:
        """Judge group by group. Again: only groups with a moved bucket, or all when ids can be other users'."""
        manifest, moved, progress = judging.manifest, judging.moved, judging.progress
        self._refuse_forgotten("staged_events", judging.forgotten)
        if self._own_ids:
            note_foreign_ids(self.duck, self.home, manifest)
            moved = None
        again = [g for g in self._groups if moved is None or not {*moved}.isdisjoint(g.buckets)]
        for done, group in enumerate(again):
            progress("write events", done, len(again))
            if group in self._judged:
                self.discard(self._judged[group].segments)
            self._judged[group] = judge_and_write(self.duck, self.home, self.ingest, group, judging, self._clamps)
        progress("write events", len(again), len(again))

    @property
    def segments(self) -> list[Segment]:
        """One segment for each bucket with new events."""
        return [segment for judged in self._judged.values() for segment in judged.segments]

    @property
    def guarded(self) -> Collection[int]:
        """All buckets when the file brings ids of its own, else those that it writes to."""
        return ALL_BUCKETS if self._own_ids else {segment.bucket for segment in self.segments}

    @property
    def rejected(self) -> str:
        """Bad rows, deleted events, and rows with another event's id."""
        return (
            "(SELECT row, reason FROM staged_events WHERE reason IS NOT NULL "
            "UNION ALL SELECT row, reason FROM refused_rows)"
        )

    def report(self, rejects: Rejects) -> TableReport:
        judged = self._judged.values()
        return TableReport(
            file=self.source.path,
            read=scalar(self.duck, "SELECT count(*) FROM staged_events") + self._malformed(),
            accepted=sum(group.accepted for group in judged),
            duplicates=sum(group.duplicates for group in judged),
            rejected=rejects.counts,
            rejects=rejects.path,
            clamped=sum(group.clamped for group in judged),
        )
