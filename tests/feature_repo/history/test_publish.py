"""Publishable rows: which are pending for the online store, and until when."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from portrait.feature_repo.history.publish import portions_of, publishable_rows
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import mark_published
from portrait.feature_repo.log.partition import BUCKETS, bucket_of
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.schemas import HISTORY
from tests.feature_repo.conftest import NOW, Write, event

BUCKET = bucket_of("u1")
NEIGHBOUR = next(f"n{number}" for number in range(1000) if bucket_of(f"n{number}") == BUCKET)


def test_only_users_with_something_new_are_pending(log: EventLog, write: Write) -> None:
    users = write("u.parquet", [{"user_id": "u1", "country": "de"}])
    ingest(log, events=write("e.parquet", [event("u1", "a", 1), event(NEIGHBOUR, "a", 2)]), users=users, now=NOW)
    new = publishable_rows(log, [BUCKET])
    histories, profiles = new.histories, new.profiles
    assert sorted(histories["user_id"].to_pylist()) == sorted(["u1", NEIGHBOUR])
    assert (histories.schema, profiles.schema) == (HISTORY, profile_schema(log))
    assert (profiles["user_id"].to_pylist(), profiles["country"].to_pylist()) == (["u1"], ["de"])
    assert set(histories["as_of"].to_pylist()) == {datetime(2024, 1, 2, microsecond=1, tzinfo=UTC)}
    assert new.up_to == {BUCKET: 3}
    mark_published(log.database, new.up_to)
    assert publishable_rows(log, [BUCKET]).histories.num_rows == 0

    ingest(log, events=write("f.parquet", [event(NEIGHBOUR, "b", 1)]), now=NOW)  # late: older than the watermark
    new = publishable_rows(log, [BUCKET])
    histories = new.histories
    assert histories["user_id"].to_pylist() == [NEIGHBOUR]
    assert histories["item_ids"].to_pylist() == [["b", "a"]]
    assert histories["position"].to_pylist() == [4]
    assert (new.profiles.num_rows, new.up_to) == (0, {BUCKET: 4})


def test_published_positions_never_go_back(log: EventLog, write: Write) -> None:
    ingest(log, events=write("e.parquet", [event("u1", "a", 1), event("u1", "b", 1)]), now=NOW)
    mark_published(log.database, {BUCKET: 2})
    mark_published(log.database, {BUCKET: 1})
    new = publishable_rows(log, [BUCKET])
    assert new.up_to == {BUCKET: 2} and new.histories.num_rows == 0


def test_profiles_are_published_before_the_first_event(log: EventLog, write: Write) -> None:
    ingest(log, events=write("e.parquet", [event("u0", "a", 1)]), now=NOW)
    users = [{"user_id": "u1", "created_time": NOW - timedelta(days=1)}]  # long after the newest event
    ingest(log, users=write("u.parquet", users), now=NOW)
    new = publishable_rows(log, [BUCKET])
    histories, profiles = new.histories, new.profiles
    assert (histories["user_id"].to_pylist(), histories["item_ids"].to_pylist()) == (["u1"], [[]])
    assert histories["position"].to_pylist() == profiles["position"].to_pylist() == [1]


def test_published_histories_are_those_of_the_snapshot(log: EventLog, write: Write) -> None:
    rows = [event(f"u{n % 40}", f"i{n % 7}", 1 + n % 28, service=f"s{n % 3}") for n in range(600)]
    ingest(log, events=write("e.parquet", rows), now=NOW)
    snapshot = cut_snapshot(log)
    for bucket in range(BUCKETS):
        histories = publishable_rows(log, [bucket]).histories
        expected = snapshot.read(bucket, HISTORY.names)
        assert histories.drop_columns("computed_at") == expected.drop_columns("computed_at")


def test_many_buckets_at_once_are_those_one_by_one(log: EventLog, write: Write) -> None:
    """Each bucket from its own position: the start, the middle of a segment, or nothing new."""
    rows = [event(f"u{n % 40}", f"i{n % 7}", 1 + n % 28, service=f"s{n % 3}") for n in range(300)]
    users = write("u.parquet", [{"user_id": f"u{n}", "country": f"c{n}"} for n in range(0, 60, 3)])
    ingest(log, events=write("e.parquet", rows), users=users, now=NOW)
    ingest(log, events=write("f.parquet", [event(f"u{n}", "i9", 29) for n in range(10)]), now=NOW)
    ends = log.manifest().ends_of(range(BUCKETS))
    beyond = {bucket: [0, ends[bucket] // 2, ends[bucket] - 1, ends[bucket]][bucket % 4] for bucket in ends}
    both = publishable_rows(log, range(BUCKETS), beyond)
    single = [publishable_rows(log, [bucket], {bucket: beyond[bucket]}) for bucket in range(BUCKETS)]
    for name in ("histories", "profiles"):
        table = pa.concat_tables([getattr(one, name) for one in single]).sort_by("user_id")
        assert getattr(both, name).drop_columns("computed_at") == table.drop_columns("computed_at")
    assert both.up_to == {bucket: end for one in single for bucket, end in one.up_to.items()} == ends
    assert 0 < both.histories.num_rows < 60
    only = publishable_rows(log, range(BUCKETS), dict.fromkeys(ends, 0), ["u1", "u3", "nobody"])
    assert only.histories["user_id"].to_pylist() == ["u1", "u3"]
    assert only.profiles["user_id"].to_pylist() == ["u3"]


def test_portions_have_about_so_many_rows(log: EventLog, write: Write) -> None:
    ingest(log, events=write("e.parquet", [event(f"u{n}", "a", 1 + n % 28) for n in range(200)]), now=NOW)
    portions = portions_of(log.manifest(), range(BUCKETS), 20)
    assert [bucket for portion in portions for bucket in portion] == list(range(BUCKETS))
    ends = log.manifest().ends_of(range(BUCKETS))
    assert all(len(portion) == 1 or sum(ends[bucket] for bucket in portion) <= 20 for portion in portions)
    assert len(portions) < 30
    assert portions_of(log.manifest(), range(BUCKETS), 1000) == [list(range(BUCKETS))]
