"""Point-in-time reads: each user's inputs as of a time of its own, replayed from the log.

Training sets and tasks read them instead of a snapshot.

**The seam.** `read_users_at(log, buckets, asked)` gives one row for each (user_id, as_of), in exactly the columns of
`Snapshot.read`; `offline_inputs.read_inputs_at` adds the teams' features, and is what goes to `Encoder.encode`.

These rows count for a row as of its time T (docs/decisions/0014):

- events by their own time, event_time < T, through the same fold as snapshots;
- a profile as it was first seen before T by the clock of ingest, never a later change of it; and only for a user who
  had signed up, created_time < T;
- at a T before the log itself began (history that was ingested in bulk) the clock of ingest says nothing: there the
  first row of each profile counts, and no later one. If that row does not say when its user signed up, it counts only
  when it came with the first users that the log was given.

With `signing_up` the rows are of users at their sign-up: a profile's first row counts, which is what they said then,
although it can only have been ingested after it.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from portrait.feature_repo.history.fold import FoldInput, fold_tables
from portrait.feature_repo.history.snapshot import inputs_schema, join_profiles
from portrait.feature_repo.ingest.seal import sealed_manifest
from portrait.feature_repo.log.committed import dated_rows_of, rows_of
from portrait.feature_repo.log.duck import Duck
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.profiles import profile_schema_at, stored_types
from portrait.feature_repo.schemas import EVENT_TYPES, TIME

ASKED = pa.schema([("user_id", pa.string()), ("as_of", TIME)])
"""The users to read, and the times. A user may be there several times; unknown users are allowed."""

MOST_ROWS = 8192
MOST_EVENTS = 500_000
"""Most rows of a yielded table, and most events that are read for it; they bound memory and change no result."""


class _LoadedRows(NamedTuple):
    """The loaded rows of the buckets; `events_of` int64 [n]: how many events each row asked for may have."""

    given: FoldInput
    began_at: datetime | None  # of the log
    users_since: datetime | None  # when its first profiles were committed
    events_of: np.ndarray


def read_users_at(
    log: EventLog, buckets: int | Collection[int], asked: pa.Table, *, signing_up: bool = False
) -> Iterator[pa.Table]:
    """Users of a bucket, or of several, as they were: a row for each of `asked` (ASKED) and in its order.

    Yields tables of some rows each, in the columns of `Snapshot.read`; `as_of` is the time asked for. A user without
    any row that counts has empty lists, position 0 and nulls.
    """
    if not asked.num_rows:
        return
    inside = (buckets,) if isinstance(buckets, int) else tuple(buckets)
    keys = pa.array(f"{row:012d}" for row in range(asked.num_rows))  # sorts as the rows lie
    rows = asked.select(ASKED.names).cast(ASKED).append_column("key", keys)
    with log.duck() as duck:
        duck.register("given", rows)
        duck.execute(
            "CREATE TEMP TABLE asked AS FROM given; CREATE TEMP TABLE users AS SELECT DISTINCT user_id FROM asked"
        )
        loaded = log.read(lambda manifest: _load(duck, log, manifest, inside), lambda: sealed_manifest(log, inside))
        for start, end in _portions(loaded.events_of):
            yield _read_portion(duck, loaded, rows.slice(start, end - start), signing_up)


def _load(duck: Duck, log: EventLog, manifest: Manifest, buckets: Collection[int]) -> _LoadedRows:
    """The rows of the asked users, once for all portions."""
    events, users = (manifest.segments_of(kind, buckets) for kind in (SegmentKind.EVENTS, SegmentKind.USERS))
    schema, now = profile_schema_at(log.home, manifest), datetime.now(UTC)
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE own_events AS FROM {rows_of(log.home, events, EVENT_TYPES)} "
        "SEMI JOIN users USING (user_id)"
    )
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE own_profiles AS "
        "SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY position) = 1 AS is_first "
        f"FROM {dated_rows_of(log.home, users, stored_types(schema))} SEMI JOIN users USING (user_id)"
    )
    counts = duck.execute(
        "SELECT coalesce(events, 0) AS events FROM asked LEFT JOIN "
        "(SELECT user_id, count(*) AS events FROM own_events GROUP BY user_id) USING (user_id) ORDER BY key"
    ).to_arrow_table()
    given = FoldInput(log.home, events, users, schema, log.settings.history_length, as_of=now, computed_at=now)
    return _LoadedRows(given, manifest.began_at(), manifest.began_at(SegmentKind.USERS), counts["events"].to_numpy())


def _portions(events_of: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges (start, end) of rows that together have a limited number of events."""
    ends, start = np.cumsum(events_of), 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, before + MOST_EVENTS, side="right")), start + 1)
        end = min(end, start + MOST_ROWS)
        yield start, end
        start = end


def _read_portion(duck: Duck, loaded: _LoadedRows, rows: pa.Table, signing_up: bool) -> pa.Table:
    """Fold as if every row asked for were a user of its own, named by its key."""
    duck.register("portion", rows)
    duck.execute("CREATE OR REPLACE TEMP TABLE named_users AS SELECT key AS user_id FROM portion")
    duck.execute("""
        CREATE OR REPLACE TEMP TABLE counted_events AS
        SELECT own_events.* REPLACE (key AS user_id) FROM own_events JOIN portion USING (user_id)
        WHERE event_time < as_of""")
    # By the whole second, as snapshots and the online store have it.
    duck.execute(
        """
        CREATE OR REPLACE TEMP TABLE counted_profiles AS
        SELECT * EXCLUDE asked_as_of FROM (
            SELECT own_profiles.* EXCLUDE (committed_at, is_first) REPLACE (key AS user_id), as_of AS asked_as_of
            FROM own_profiles JOIN portion USING (user_id)
            WHERE CASE WHEN ? OR as_of <= ? THEN is_first AND (created_time IS NOT NULL OR committed_at = ?)
                       ELSE committed_at < as_of END
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY position DESC) = 1)
        WHERE created_time IS NULL OR date_trunc('second', created_time) < asked_as_of""",
        [signing_up, loaded.began_at, loaded.users_since],
    )
    folded = fold_tables(duck, loaded.given)
    schema = inputs_schema(loaded.given.profile_schema)
    table = join_profiles(folded.histories, folded.profiles, schema.names).select(schema.names)
    for name in ASKED.names:
        table = table.set_column(schema.get_field_index(name), schema.field(name), rows[name])
    return table
