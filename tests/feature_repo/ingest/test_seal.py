"""Sealing: single records end in the log as the same rows of a file would, once, at their own positions."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.catalogue import catalogue
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest import seal as sealing
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.seal import seal, sealed_manifest
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome, read_inbox
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import microseconds
from tests.feature_repo.conftest import NOW, Write
from tests.feature_repo.conftest import event as file_row

DAY = microseconds(datetime(2024, 1, 1, tzinfo=UTC))


def event(user: str, item: str, day: int, event_id: str) -> ArrivingRecord:
    time = DAY + (day - 1) * 86_400_000_000
    payload = json.dumps([user, item, time, "default", "view", 1.0, event_id])
    return ArrivingRecord(SegmentKind.EVENTS, bucket_of(user), payload, user, event_id)


def user(user_id: str, **columns: Any) -> ArrivingRecord:
    return ArrivingRecord(SegmentKind.USERS, bucket_of(user_id), json.dumps({"user_id": user_id, **columns}), user_id)


def item(item_id: str, **columns: Any) -> ArrivingRecord:
    return ArrivingRecord(
        SegmentKind.ITEMS, ITEMS_BUCKET, json.dumps({"service": "default", "item_id": item_id, **columns})
    )


def logged(log: EventLog) -> list[tuple[Any, ...]]:
    types = {"user_id": "VARCHAR", "item_id": "VARCHAR", "event_time": "TIMESTAMPTZ", "event_id": "VARCHAR"}
    with log.duck() as duck:
        rows = rows_of(log.home, log.manifest().segments_of(SegmentKind.EVENTS), types)
        query = f"SELECT user_id, item_id, epoch_us(event_time), event_id, position FROM {rows} ORDER BY ALL"
        return duck.execute(query).fetchall()


def test_a_clamped_event_that_comes_again_after_sealing_is_known(log: EventLog) -> None:
    clamping = EventLog(log.database, log.settings.model_copy(update={"clamp_clocks": True}))
    clamping.inbox.accept([event("ann", "a", 1, "1")])
    assert seal(clamping).kept == 1
    clamping.inbox.accept([event("ann", "a", 2, "1")])
    assert (seal(clamping).kept, seal(clamping).taken) == (0, ())
    assert logged(log) == [("ann", "a", DAY, "1", 1)]


def test_rows_keep_their_positions_and_leave_the_inbox(log: EventLog) -> None:
    log.inbox.accept([event("ann", "a", 3, "1"), event("ann", "b", 1, "2"), event("bob", "c", 2, "3")])
    done = seal(log)
    assert (done.rows, done.kept, done.taken) == (3, 3, ())
    assert logged(log) == [
        ("ann", "a", DAY + 2 * 86_400_000_000, "1", 1),
        ("ann", "b", DAY, "2", 2),
        ("bob", "c", DAY + 86_400_000_000, "3", 1),
    ]
    assert read_inbox(log.database, None, 10) == []
    assert seal(log).rows == 0
    spans = {
        s.bucket: (s.first_position, s.last_position, s.rows) for s in log.manifest().segments_of(SegmentKind.EVENTS)
    }
    assert spans == {bucket_of("ann"): (1, 2, 2), bucket_of("bob"): (1, 1, 1)}


def test_what_the_log_knows_already_is_dropped(log: EventLog, write: Write) -> None:
    ingest(log, write("events.parquet", [file_row("ann", "a", 3, event_id="1")]), now=NOW)
    same, other = event("ann", "a", 3, "1"), event("ann", "z", 9, "2")
    assert log.inbox.accept([same, other]) == [InboxOutcome.ACCEPTED] * 2
    assert (seal(log).rows, len(logged(log))) == (2, 2)
    assert (
        log.inbox.accept([same, other]) == [InboxOutcome.ACCEPTED] * 2
    )  # the inbox has forgotten them, the log has not
    done = seal(log)
    assert (done.rows, done.kept) == (2, 0)
    assert [row[3:] for row in logged(log)] == [("1", 1), ("2", 3)]


def test_an_id_of_another_event_goes_to_the_rejects(log: EventLog) -> None:
    log.inbox.accept([event("ann", "a", 3, "1")])
    seal(log)
    log.inbox.accept([event("ann", "other", 3, "1")])
    assert seal(log).taken == ("ann",)
    (file,) = (log.home / "rejects").glob("accepted-*.parquet")
    (row,) = pq.read_table(file).to_pylist()
    assert row["reason"] == "event_id is known with another payload" and "other" in row["record"]
    assert len(logged(log)) == 1


def test_a_file_after_the_inbox_is_judged_against_it(log: EventLog, write: Write) -> None:
    log.inbox.accept([event("ann", "a", 3, "1")])
    rows = [file_row("ann", "a", 3, event_id="1"), file_row("ann", "b", 4, event_id="2")]
    report = ingest(log, write("events.parquet", rows), now=NOW).events
    assert report is not None and (report.accepted, report.duplicates) == (1, 1)
    assert [row[3:] for row in logged(log)] == [("1", 1), ("2", 2)]


def test_a_profile_keeps_what_a_change_leaves_out(log: EventLog, write: Write) -> None:
    first = {"user_id": "ann", "country": "SE", "age": 30, "created_time": "2024-01-01"}
    ingest(log, users=write("users.parquet", [first]), now=NOW)
    log.inbox.accept([user("ann", age=31), user("ann", country=None), user("bob", created_time=DAY + 7), user("ann")])
    assert (seal(log).kept, len(read_inbox(log.database, None, 9))) == (4, 0)
    snapshot = cut_snapshot(log, NOW)
    found = {
        row["user_id"]: row
        for bucket in snapshot.buckets
        for row in snapshot.read(bucket, ["user_id", "country", "age", "created_time", "position"]).to_pylist()
    }
    assert (found["ann"]["country"], found["ann"]["age"], found["ann"]["position"]) == (None, 31, 4)
    assert microseconds(found["ann"]["created_time"]) == DAY
    assert (found["bob"]["country"], microseconds(found["bob"]["created_time"])) == (None, DAY + 7)


def test_values_from_before_a_columns_type_was_settled(
    log: EventLog, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that a gateway accepts while a file brings the column's first value, or other numbers."""
    ingest(log, users=write("a.csv", "user_id,age,size\nann,,3\n"), now=NOW)
    log.inbox.accept([user("bob", age="31"), user("bob", size=4), user("cid", age=None, size=5)])
    monkeypatch.setattr("portrait.feature_repo.ingest.ingest.seal", lambda log: None)
    ingest(log, users=write("b.csv", "user_id,age,size\nann,30,3.5\n"), now=NOW)
    done = seal(log)
    assert (done.rows, done.kept, done.taken) == (3, 2, ("bob",))
    (file,) = (log.home / "rejects").glob("accepted-*.parquet")
    (row,) = pq.read_table(file).to_pylist()
    assert row["reason"] == "age is not a whole number of 64 bits" and "31" in row["record"]
    snapshot = cut_snapshot(log, NOW)
    rows = [r for bucket in snapshot.buckets for r in snapshot.read(bucket, ["user_id", "age", "size"]).to_pylist()]
    assert sorted(map(tuple, (r.values() for r in rows))) == [("ann", 30, 3.5), ("bob", None, 4.0), ("cid", None, 5.0)]


def test_items_and_their_vectors(log: EventLog) -> None:
    log.inbox.accept([item("a", text="old"), item("b", vector_audio=[1.0, 2.0]), item("a", text="new"), item("a")])
    assert seal(log).kept == 3
    rows = [tuple(row.values()) for row in catalogue(log).to_pylist()]
    assert rows == [("default", "a", "new", None, None), ("default", "b", None, None, [1.0, 2.0])]


def test_a_snapshot_holds_what_was_accepted_before_it(log: EventLog) -> None:
    log.inbox.accept([event("ann", "a", 3, "1")])
    assert cut_snapshot(log).events == 1
    log.inbox.accept([event("ann", "b", 4, "2")])
    assert cut_snapshot(log).events == 2


def test_several_who_seal_at_once_lose_and_double_nothing(log: EventLog) -> None:
    with ThreadPoolExecutor(5) as pool:
        batches = [[event(f"u{n % 7}", "a", 1 + n % 20, f"{part}-{n}") for n in range(40)] for part in range(5)]
        accepting = [pool.submit(log.inbox.accept, batch) for batch in batches]
        sealing_too = [pool.submit(seal, log) for _ in range(6)]
        for running in (*accepting, *sealing_too):
            running.result()
    seal(log)
    rows = logged(log)
    assert len(rows) == 200 == len({row[3] for row in rows})
    for bucket, end in log.manifest().next_positions.items():
        assert sorted(p for u, *_, p in rows if bucket_of(u) == bucket) == list(range(1, end))


def test_a_bulk_commit_in_between_is_noticed(log: EventLog, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judgement is made anew, so an event that came by file meanwhile stays single."""
    log.inbox.accept([event("ann", "a", 3, "1")])
    path = write("events.parquet", [file_row("ann", "a", 3, event_id="1")])
    judge, faster = sealing.events.judge, iter([True, False])

    def judged(*arguments: Any) -> dict[str, int]:
        counts = judge(*arguments)
        if next(faster, False):
            monkeypatch.setattr("portrait.feature_repo.ingest.ingest.seal", lambda log: None)
            ingest(log, path, now=NOW)
        return counts

    monkeypatch.setattr(sealing.events, "judge", judged)
    done = seal(log)
    assert (done.rows, done.kept) == (1, 0)
    assert [row[3:] for row in logged(log)] == [("1", 2)]


def test_nothing_in_the_inbox_precedes_a_segment(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.inbox.accept([event("ann", "a", 3, "1")])
    manifest = sealed_manifest(log)
    assert [s.last_position for s in manifest.segments_of(SegmentKind.EVENTS)] == [1]


def test_what_fails_before_the_commit_leaves_the_inbox_as_it_was(log: EventLog) -> None:
    def refuse(_session: Any) -> None:
        raise RuntimeError("not yours any more")

    log.inbox.accept([event("ann", "a", 3, "1")])
    with pytest.raises(RuntimeError, match="not yours"):
        seal(log, within=refuse)
    assert len(read_inbox(log.database, None, 9)) == 1 and logged(log) == []
    assert list((log.home / "log").rglob("*.parquet")) == []
    assert seal(log).kept == 1


def test_the_same_by_file_and_one_by_one(log: EventLog, write: Write, tmp_path: Path) -> None:
    """An event without an id of its own gets the same one in both ways, so the second is known."""
    ingest(log, write("events.parquet", [file_row("ann", "a", 3)]), now=NOW)
    ((*_, event_id, _position),) = logged(log)
    log.inbox.accept([event("ann", "a", 3, event_id)])
    assert seal(log).kept == 0
