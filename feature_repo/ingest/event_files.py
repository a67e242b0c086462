"""Events on their way into the log: staged once, judged group by group, written as segments.

A group is a run of buckets with a bounded number of rows, so that memory does not grow with the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from portrait.feature_repo.ingest.canonical import canonical_events
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.duck import Duck, scalar
from portrait.feature_repo.log.manifest import Kind, Manifest, Segment
from portrait.feature_repo.log.partition import bucket_sql
from portrait.feature_repo.log.segments import BATCH_ROWS, write_segments
from portrait.feature_repo.schemas import EVENTS

GROUP_ROWS = 500_000
PAYLOAD = ("user_id", "item_id", "event_time", "service", "action", "weight")
TAKEN = "event_id is known with another payload"

_TYPES = {
    "user_id": "VARCHAR",
    "item_id": "VARCHAR",
    "event_time": "TIMESTAMPTZ",
    "service": "VARCHAR",
    "action": "VARCHAR",
    "weight": "FLOAT",
    "event_id": "VARCHAR",
}


@dataclass(frozen=True)
class Group:
    """A run of buckets, both ends included, that is judged and written at once."""

    first: int
    last: int

    @property
    def buckets(self) -> range:
        """The buckets of the group."""
        return range(self.first, self.last + 1)


@dataclass(frozen=True)
class Judged:
    """What became of a group's rows; the rejected ones are in the table `taken_rows`."""

    segments: list[Segment]
    accepted: int
    duplicates: int


def stage_events(duck: Duck, source: Source, now: datetime) -> None:
    """Read the file once into the table `staged_events`; raises duckdb.Error when it cannot be read to its end."""
    duck.execute(f"CREATE TABLE staged_events AS {canonical_events(source, now)}")
    duck.execute("CREATE TABLE taken_rows (first_bucket INTEGER, row BIGINT)")
    duck.execute("CREATE TABLE foreign_rows (row BIGINT)")


def groups_of(duck: Duck) -> list[Group]:
    """The staged good rows as runs of buckets of at most GROUP_ROWS rows, or of a single bucket."""
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
    """Whether the file brings ids of its own: only these can collide with another user's."""
    return scalar(duck, "SELECT count(*) FROM staged_events WHERE reason IS NULL AND event_id IS NOT NULL") > 0


def note_foreign_ids(duck: Duck, home: Path, manifest: Manifest) -> None:
    """Keep in the table `foreign_rows` the rows whose id belongs to an event of another bucket.

    An id belongs to the event of the log that has it, else to the first row of the file that has it.
    """
    logged = rows_of(home, manifest.of(Kind.EVENTS), {"event_id": "VARCHAR", "user_id": "VARCHAR"}, positions=False)
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


def judge_and_write(duck: Duck, home: Path, ingest: str, group: Group, manifest: Manifest) -> Judged:
    """Tell new rows from duplicates and from stolen ids, and write the new ones."""
    _identify(duck, group)
    counts = judge(duck, home, manifest.of(Kind.EVENTS, group.buckets))
    duck.execute(f"DELETE FROM taken_rows WHERE first_bucket = {group.first}")
    duck.execute(f"INSERT INTO taken_rows SELECT {group.first}, row FROM judged WHERE verdict = 'rejected'")
    segments = _write(duck, home, ingest) if counts.get("accepted") else []
    return Judged(segments, counts.get("accepted", 0), counts.get("duplicate", 0))


def _identify(duck: Duck, group: Group) -> None:
    # Every text goes in with its length, so that no two rows read the same.
    parts = [f"strlen({column}), ':', {column}" for column in ("user_id", "service", "item_id", "action")]
    payload = ", ".join([*parts, "weight", "' '", "epoch_us(event_time)", "' '", "ordinal"])
    duck.execute(f"""
        CREATE OR REPLACE TEMP TABLE arriving AS
        SELECT row, bucket, {", ".join(PAYLOAD)}, coalesce(event_id, md5(concat({payload}))) AS event_id
        FROM (SELECT *, row_number() OVER identical - 1 AS ordinal FROM staged_events
              WHERE reason IS NULL AND bucket BETWEEN {group.first} AND {group.last}
              WINDOW identical AS (PARTITION BY event_id IS NULL, {", ".join(PAYLOAD)} ORDER BY row))""")


def judge(duck: Duck, home: Path, segments: Sequence[Segment]) -> dict[str, int]:
    """Tell the rows of `arriving` from the segments' and from each other: counts by the verdict in `judged`."""
    payload = "{" + ", ".join(f"'{column}': {column}" for column in PAYLOAD) + "}"
    columns = ", ".join((*PAYLOAD, "event_id"))
    # Events of the log come before any row of the file: row 0. The first one of an id owns it.
    duck.execute(f"""
        CREATE OR REPLACE TEMP TABLE judged AS
        WITH known AS (SELECT {columns} FROM {rows_of(home, segments, _TYPES, positions=False)}
                       WHERE event_id IN (SELECT event_id FROM arriving)),
        candidates AS (SELECT 0 AS row, NULL AS bucket, {columns} FROM known UNION ALL BY NAME FROM arriving),
        repeated AS (SELECT event_id FROM candidates GROUP BY event_id HAVING count(*) > 1),
        ranked AS (
            SELECT row, row_number() OVER same_id AS rank, {payload} = first_value({payload}) OVER same_id AS alike
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
    return write_segments(home, Kind.EVENTS, ingest, EVENTS, reader)
