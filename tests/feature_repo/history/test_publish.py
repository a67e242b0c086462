"""Publishable rows: which are pending for the online store, and until when."""

from datetime import UTC, datetime, timedelta

from portrait.feature_repo.history.publish import mark_published, publishable_rows
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import BUCKETS, bucket_of
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.schemas import HISTORY
from tests.feature_repo.conftest import NOW, Write, event

BUCKET = bucket_of("u1")
NEIGHBOUR = next(f"n{number}" for number in range(1000) if bucket_of(f"n{number}") == BUCKET)


def test_only_users_with_something_new_are_pending(log: EventLog, write: Write) -> None:
    users = write("u.parquet", [{"user_id": "u1", "country": "de"}])
    ingest(log, events=write("e.parquet", [event("u1", "a", 1), event(NEIGHBOUR, "a", 2)]), users=users, now=NOW)
    histories, profiles, up_to = publishable_rows(log, BUCKET)
    assert sorted(histories["user_id"].to_pylist()) == sorted(["u1", NEIGHBOUR])
    assert (histories.schema, profiles.schema) == (HISTORY, profile_schema(log))
    assert (profiles["user_id"].to_pylist(), profiles["country"].to_pylist()) == (["u1"], ["de"])
    assert set(histories["as_of"].to_pylist()) == {datetime(2024, 1, 2, microsecond=1, tzinfo=UTC)}
    assert up_to == 3
    mark_published(log, BUCKET, up_to)
    assert publishable_rows(log, BUCKET)[0].num_rows == 0

    ingest(log, events=write("f.parquet", [event(NEIGHBOUR, "b", 1)]), now=NOW)  # late: older than the watermark
    histories, profiles, up_to = publishable_rows(log, BUCKET)
    assert histories["user_id"].to_pylist() == [NEIGHBOUR]
    assert histories["item_ids"].to_pylist() == [["b", "a"]]
    assert histories["position"].to_pylist() == [4]
    assert (profiles.num_rows, up_to) == (0, 4)


def test_published_positions_never_go_back(log: EventLog, write: Write) -> None:
    ingest(log, events=write("e.parquet", [event("u1", "a", 1), event("u1", "b", 1)]), now=NOW)
    mark_published(log, BUCKET, 2)
    mark_published(log, BUCKET, 1)
    assert publishable_rows(log, BUCKET)[2] == 2
    assert publishable_rows(log, BUCKET)[0].num_rows == 0


def test_profiles_are_published_before_the_first_event(log: EventLog, write: Write) -> None:
    ingest(log, events=write("e.parquet", [event("u0", "a", 1)]), now=NOW)
    users = [{"user_id": "u1", "created_time": NOW - timedelta(days=1)}]  # long after the newest event
    ingest(log, users=write("u.parquet", users), now=NOW)
    histories, profiles, _ = publishable_rows(log, BUCKET)
    assert (histories["user_id"].to_pylist(), histories["item_ids"].to_pylist()) == (["u1"], [[]])
    assert histories["position"].to_pylist() == profiles["position"].to_pylist() == [1]


def test_published_histories_are_those_of_the_snapshot(log: EventLog, write: Write) -> None:
    rows = [event(f"u{n % 40}", f"i{n % 7}", 1 + n % 28, service=f"s{n % 3}") for n in range(600)]
    ingest(log, events=write("e.parquet", rows), now=NOW)
    snapshot = cut_snapshot(log)
    for bucket in range(BUCKETS):
        histories, _, _ = publishable_rows(log, bucket)
        expected = snapshot.read(bucket, HISTORY.names)
        assert histories.drop_columns("computed_at") == expected.drop_columns("computed_at")
