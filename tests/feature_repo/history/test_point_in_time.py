"""Point-in-time reads: equal to a snapshot of that time, and without anything later."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import update

from portrait.feature_repo.history import point_in_time
from portrait.feature_repo.history.catalogue import catalogue_history
from portrait.feature_repo.history.point_in_time import ASKED, read_users_at
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import BUCKETS, bucket_of
from portrait.feature_repo.log.tables import SegmentRow
from portrait.feature_repo.schemas import microseconds
from tests.feature_repo.conftest import NOW, Write, event

STAMPS = ("as_of", "computed_at")


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def asked(*rows: tuple[str, datetime]) -> pa.Table:
    users, times = zip(*rows, strict=True)
    return pa.table({"user_id": users, "as_of": times}, schema=ASKED)


def read(log: EventLog, *rows: tuple[str, datetime]) -> list[dict[str, Any]]:
    """All rows asked for must be of one bucket."""
    [bucket] = {bucket_of(user) for user, _ in rows}
    found: list[dict[str, Any]] = pa.concat_tables(read_users_at(log, bucket, asked(*rows))).to_pylist()
    return found


def commit(log: EventLog, kind: SegmentKind, order: int, moment: datetime) -> None:
    """Let the segments of a kind's nth commit have been committed at a moment."""
    segments = log.manifest().segments_of(kind)
    commits = sorted({segment.committed_at for segment in segments if segment.committed_at})
    ids = [segment.id for segment in segments if segment.committed_at == commits[order]]
    with log.database.transaction() as session:
        session.execute(update(SegmentRow).where(SegmentRow.id.in_(ids)).values(committed_at=moment))


@pytest.fixture
def busy(log: EventLog, write: Write) -> EventLog:
    """Many users with more events than a history keeps, in two files, and profiles of some of them."""
    rng = np.random.default_rng(0)
    rows = [
        event(f"u{rng.integers(40)}", f"i{rng.integers(9)}", int(rng.integers(1, 29)), service="ab"[rng.integers(2)])
        for _ in range(900)
    ]
    users = [
        {"user_id": f"u{n}", "created_time": day(1 + n % 28), "country": "SE" if n % 2 else None} for n in range(30)
    ]
    ingest(log, write("one.parquet", rows[::2]), users=write("users.parquet", users), now=NOW)
    ingest(log, write("two.parquet", rows[1::2]), now=NOW)
    return log


@pytest.mark.parametrize("events_at_once", [5, point_in_time.MOST_EVENTS])
def test_every_user_as_of_every_time_is_what_a_snapshot_of_that_time_holds(
    busy: EventLog, events_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(point_in_time, "MOST_EVENTS", events_at_once)
    snapshots = [cut_snapshot(busy, moment) for moment in (day(1), day(9), day(28), datetime(2024, 3, 1, tzinfo=UTC))]
    for bucket in range(BUCKETS):
        expected = pa.concat_tables(snapshot.read(bucket) for snapshot in snapshots)
        found = list(read_users_at(busy, bucket, expected.select(ASKED.names)))
        if not expected.num_rows:
            assert not found
            continue
        table = pa.concat_tables(found)
        assert table.schema == snapshots[0].schema
        assert table.drop_columns(STAMPS).equals(expected.drop_columns(STAMPS))
        assert table["as_of"].equals(expected["as_of"])


def test_rows_come_in_the_order_asked_for_and_a_user_may_be_asked_for_twice(log: EventLog, write: Write) -> None:
    ingest(log, write("events.parquet", [event("u", "a", 1), event("u", "b", 2), event("u", "c", 3)]), now=NOW)
    rows = read(log, ("u", day(3)), ("u", day(1)), ("u", day(2)), ("u", day(3)))
    assert [row["item_ids"] for row in rows] == [["a", "b"], [], ["a"], ["a", "b"]]
    assert [row["as_of"] for row in rows] == [day(3), day(1), day(2), day(3)]


def test_an_event_at_the_time_itself_does_not_count(log: EventLog, write: Write) -> None:
    ingest(log, write("events.parquet", [event("u", "a", 1), event("u", "b", 2)]), now=NOW)
    tick = timedelta(microseconds=1)
    assert [len(row["item_ids"]) for row in read(log, ("u", day(2)), ("u", day(2) + tick))] == [1, 2]


def test_a_user_whom_nobody_knows_has_a_row_of_nothing(log: EventLog, write: Write) -> None:
    ingest(log, write("events.parquet", [event("u", "a", 1)]), now=NOW)
    [row] = read(log, ("stranger", day(5)))
    assert row["user_id"] == "stranger" and row["item_ids"] == [] and row["position"] == 0
    assert row["created_time"] is None and row["onboarding_items"] is None


def test_nobody_asked_for_gives_nothing(log: EventLog, write: Write) -> None:
    ingest(log, write("events.parquet", [event("u", "a", 1)]), now=NOW)
    assert list(read_users_at(log, bucket_of("u"), ASKED.empty_table())) == []


@pytest.fixture
def changed(log: EventLog, write: Write) -> EventLog:
    """A profile that changed on the 10th, and again on the 20th, of a log that began on the 5th."""
    first = {"user_id": "u", "created_time": day(2), "plan": "free"}
    ingest(log, write("e.parquet", [event("u", "a", 1)]), users=write("u1.parquet", [first]), now=NOW)
    for name, plan in (("u2", "paid"), ("u3", "left")):
        ingest(log, users=write(f"{name}.parquet", [first | {"plan": plan}]), now=NOW)
    commit(log, SegmentKind.EVENTS, 0, day(5))
    for order, moment in enumerate((day(5), day(10), day(20))):
        commit(log, SegmentKind.USERS, order, moment)
    return log


def test_a_profile_counts_as_it_was_known_at_the_time(changed: EventLog) -> None:
    rows = read(changed, *(("u", day(n)) for n in (6, 10, 11, 20, 21)))
    assert [row["plan"] for row in rows] == ["free", "free", "paid", "paid", "left"]


def test_before_the_log_began_the_first_profile_counts_from_the_sign_up_on(changed: EventLog) -> None:
    rows = read(changed, *(("u", day(n)) for n in (2, 3, 5)))
    assert [row["plan"] for row in rows] == [None, "free", "free"]
    assert [row["created_time"] for row in rows] == [None, day(2), day(2)]


def test_what_was_said_at_sign_up_counts_at_it_though_it_was_ingested_later(changed: EventLog, write: Write) -> None:
    late = next(f"late{n}" for n in range(999) if bucket_of(f"late{n}") == bucket_of("u"))
    for plan in ("free", "paid"):
        row = {"user_id": late, "created_time": day(14), "plan": plan}
        ingest(changed, users=write(f"{plan}.parquet", [row]), now=NOW)
    just_after = asked((late, day(14) + timedelta(microseconds=1)), ("u", day(2) + timedelta(microseconds=1)))
    known, said = (
        pa.concat_tables(read_users_at(changed, bucket_of("u"), just_after, signing_up=signing_up))["plan"].to_pylist()
        for signing_up in (False, True)
    )
    assert (known, said) == ([None, "free"], ["free", "free"])


def test_a_profile_that_came_once_the_log_had_begun_does_not_reach_back(changed: EventLog, write: Write) -> None:
    late = next(f"late{n}" for n in range(999) if bucket_of(f"late{n}") == bucket_of("u"))
    ingest(changed, users=write("late.parquet", [{"user_id": late, "plan": "paid"}]), now=NOW)
    commit(changed, SegmentKind.USERS, 3, day(15))
    assert [row["plan"] for row in read(changed, (late, day(14)), (late, day(16)))] == [None, "paid"]


def test_what_is_in_the_inbox_counts(log: EventLog, write: Write) -> None:
    ingest(log, write("events.parquet", [event("u", "a", 1)]), now=NOW)
    further = f'["u","b",{microseconds(day(2))},"default","view",1.0,"id"]'
    log.inbox.accept([ArrivingRecord(SegmentKind.EVENTS, bucket_of("u"), further, event_id="id", user_id="u")])
    assert read(log, ("u", day(3)))[0]["item_ids"] == ["a", "b"]


def test_the_catalogue_keeps_every_row_with_its_time(log: EventLog, write: Write) -> None:
    items = [{"item_id": "a", "text": "old"}, {"item_id": "b", "text": "other"}]
    ingest(log, write("e.parquet", [event("u", "a", 1)]), items=write("i1.parquet", items), now=NOW)
    ingest(log, items=write("i2.parquet", [{"item_id": "a", "text": "new"}]), now=NOW)
    commit(log, SegmentKind.ITEMS, 0, day(10))
    commit(log, SegmentKind.ITEMS, 1, day(20))
    history = catalogue_history(log)
    assert history.rows["text"].to_pylist() == ["old", "other", "new"]
    assert history.committed_at.tolist() == [microseconds(day(n)) for n in (10, 10, 20)]
    assert history.first.tolist() == [True, True, False]
    assert history.began_at == microseconds(day(10))
