"""Snapshots: their users and content, their immutability, and the same cut on Ray."""

import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history import snapshot_cut as snapshots_module
from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot, load_snapshot, snapshots
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.schemas import HISTORY
from portrait.registry.errors import InvalidInput, NotFound
from tests.feature_repo.conftest import NOW, Write, event


def read_all(snapshot: Snapshot) -> pa.Table:
    return pa.concat_tables(snapshot.read(bucket) for bucket in snapshot.buckets).sort_by("user_id")


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


@pytest.fixture
def filled(log: EventLog, write: Write) -> EventLog:
    """Six events of u1 and u2; u3 has signed up only, u4 later."""
    events = [event("u1", item, n) for n, item in enumerate("abcde", start=1)]
    users = [
        {"user_id": "u1", "created_time": None, "onboarding_items": ["x"], "country": "de"},
        {"user_id": "u3", "created_time": day(2), "onboarding_items": None, "country": "fr"},
        {"user_id": "u4", "created_time": day(4), "onboarding_items": None, "country": "it"},
    ]
    ingest(log, events=write("e.parquet", [*events, event("u2", "a", 5)]), users=write("u.parquet", users), now=NOW)
    return log


def test_every_user_has_one_row_as_of_the_watermark(filled: EventLog) -> None:
    snapshot = cut_snapshot(filled)
    assert snapshot.as_of == day(5) + timedelta(microseconds=1)
    assert (snapshot.users, snapshot.events, snapshot.data_from) == (4, 6, day(1))
    assert snapshot.users == filled.users_count() == sum(snapshot.buckets.values())
    table = read_all(snapshot)
    assert table["user_id"].to_pylist() == ["u1", "u2", "u3", "u4"]
    assert table["item_ids"].to_pylist() == [["b", "c", "d", "e"], ["a"], [], []]  # the last four, newest last
    assert table["onboarding_items"].to_pylist() == [["x"], None, None, None]
    assert table["country"].to_pylist() == ["de", None, "fr", "it"]
    assert table["position"].to_pylist() == [6, 1, 1, 1]
    assert set(table["as_of"].to_pylist()) == {snapshot.as_of}
    for bucket, users in snapshot.buckets.items():
        part = snapshot.read(bucket)
        assert part.num_rows == users
        assert {bucket_of(user) for user in part["user_id"].to_pylist()} == {bucket}
        assert filled.user_ids(bucket) == part["user_id"].to_pylist()


def test_the_past_does_not_know_the_future(filled: EventLog) -> None:
    snapshot = cut_snapshot(filled, as_of=day(3))
    assert (snapshot.users, snapshot.events, snapshot.data_from) == (4, 2, day(1))
    table = read_all(snapshot)
    assert table["item_ids"].to_pylist() == [["a", "b"], [], [], []]  # an event at as_of is not before it
    assert table["country"].to_pylist() == ["de", None, "fr", None]  # u4 had not signed up
    assert table["position"].to_pylist() == [6, 0, 1, 0]  # u1's profile row counts at any time


def test_before_everything_there_are_users_without_history(filled: EventLog) -> None:
    snapshot = cut_snapshot(filled, as_of=datetime(2000, 1, 1, tzinfo=UTC))
    assert (snapshot.users, snapshot.events, snapshot.data_from) == (4, 0, None)
    assert read_all(snapshot)["item_ids"].to_pylist() == [[], [], [], []]


def test_the_same_cut_is_the_same_snapshot(filled: EventLog, write: Write) -> None:
    first = cut_snapshot(filled)
    written = {path: path.stat().st_mtime_ns for path in (filled.home / "snapshots").rglob("*")}
    assert cut_snapshot(filled) == first
    assert {path: path.stat().st_mtime_ns for path in (filled.home / "snapshots").rglob("*")} == written
    assert load_snapshot(filled.home, first.id) == first
    longer = EventLog(filled.database, filled.settings.model_copy(update={"history_length": 9}))
    assert cut_snapshot(longer).id != first.id
    ingest(filled, events=write("late.parquet", [event("u9", "z", 1)]), now=NOW)
    second = cut_snapshot(filled)
    assert (second.as_of, second.users) == (first.as_of, 5)
    assert second.id != first.id
    assert [snapshot.id for snapshot in snapshots(filled.home)[:1]] == [first.id]
    assert read_all(first).num_rows == 4


def test_another_user_may_enter_a_snapshot_as_any_other_folder(filled: EventLog, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    cut_snapshot(filled)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in filled.home.rglob("*") if path.is_dir()}
    assert modes == {stat.S_IMODE((tmp_path / "other").stat().st_mode)}


def test_folders_are_hidden_until_whole(filled: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots_module, "save_snapshot", lambda snapshot: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cut_snapshot(filled)
    assert snapshots(filled.home) == []
    monkeypatch.undo()
    assert read_all(cut_snapshot(filled)).num_rows == 4
    assert list((filled.home / "snapshots").glob(".*")) == []


def test_reading_some_columns(filled: EventLog) -> None:
    snapshot = cut_snapshot(filled)
    assert snapshot.schema.names == [*HISTORY.names, "created_time", "onboarding_items", "country"]
    assert snapshot.profile_schema == profile_schema(filled)
    assert snapshot.read(bucket_of("u1"), ["country", "services"]).column_names == ["country", "services"]
    unused = next(bucket for bucket in range(64) if bucket not in snapshot.buckets)
    assert snapshot.read(unused).schema == snapshot.schema
    assert read_all(snapshot).schema == snapshot.schema
    with pytest.raises(InvalidInput, match=r"no column `age`; they have: user_id, services"):
        snapshot.read(0, ["age"])


def test_what_is_asked_in_vain(log: EventLog, write: Write) -> None:
    with pytest.raises(InvalidInput, match="the log is empty"):
        cut_snapshot(log)
    with pytest.raises(InvalidInput, match="the log knows no users"):
        cut_snapshot(log, as_of=NOW)
    with pytest.raises(NotFound, match="there is no snapshot x; there are: none"):
        load_snapshot(log.home, "x")
    ingest(log, users=write("u.parquet", [{"user_id": "u"}]))
    with pytest.raises(InvalidInput, match="has no time zone"):
        cut_snapshot(log, as_of=datetime(2024, 1, 1))
    assert cut_snapshot(log).users == 1  # a log without events has a time of its own


def test_ray_cuts_the_same(filled: EventLog, ray_session: None, tmp_path: Path) -> None:
    here = cut_snapshot(filled)
    kept = tmp_path / "kept"
    shutil.move(filled.home / "snapshots", kept)
    steps = []
    on_ray = EventLog(filled.database, filled.settings.model_copy(update={"ray_from_events": 6}))
    there = cut_snapshot(on_ray, progress=lambda step, done, total, note="": steps.append((done, total)))
    assert (there.id, there.users, there.events, there.buckets) == (here.id, here.users, here.events, here.buckets)
    assert steps[-1] == (len(there.buckets), len(there.buckets))
    files = sorted(path.relative_to(kept) for path in kept.rglob("*.parquet"))
    assert len(files) == 2 * len(there.buckets)
    for file in files:
        written, expected = (pq.read_table(folder / file) for folder in (filled.home / "snapshots", kept))
        assert written.drop_columns("computed_at") == expected.drop_columns("computed_at")


def test_nobody_knows_the_future(filled: EventLog, write: Write) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    with pytest.raises(InvalidInput, match=f"as-of {later:%Y-%m-%d %H:%M:%S} lies in the future"):
        cut_snapshot(filled, later)
    assert not (filled.home / "snapshots").exists()
    ahead = {"user_id": "u9", "item_id": "z", "event_time": later}  # by a clock that runs ahead
    if ingest(filled, events=write("ahead.parquet", [ahead]), now=later).events.accepted:
        assert cut_snapshot(filled).as_of == later + timedelta(microseconds=1)
        assert cut_snapshot(filled, later).as_of == later
