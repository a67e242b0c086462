"""Ingest: counts that add up, rejects with reasons, the same file twice, one commit or nothing."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.ingest import event_files as events_module
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.ingest_report import IngestReport, TableReport
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.staging import sweep
from portrait.feature_repo.schemas import EVENTS
from portrait.feature_repo.settings import FeatureSettings
from portrait.infra.migrations import upgrade
from portrait.registry.database.database import Database
from portrait.registry.errors import InvalidInput
from tests.feature_repo.conftest import NOW, Write, event


def stored_events(log: EventLog) -> list[dict[str, Any]]:
    rows = []
    for segment in log.manifest().segments_of(SegmentKind.EVENTS):
        table = pq.read_table(log.home / segment.path, partitioning=None)
        assert table.schema == EVENTS
        assert table.num_rows == segment.rows
        assert {bucket_of(user) for user in table["user_id"].to_pylist()} == {segment.bucket}
        order = list(zip(table["event_time"].to_pylist(), table["event_id"].to_pylist(), strict=True))
        assert order == sorted(order)
        rows += table.to_pylist()
    return sorted(rows, key=lambda row: (row["user_id"], row["event_time"], row["event_id"]))


def adds_up(report: TableReport | None) -> TableReport:
    assert report is not None
    assert report.read == report.accepted + report.duplicates + report.rejected_rows
    if report.rejected_rows:
        assert report.rejects is not None
        assert pq.read_metadata(report.rejects).num_rows == report.rejected_rows
    return report


def files_of(home: Path) -> set[Path]:
    return {path.relative_to(home) for path in home.rglob("*") if path.is_file() and "registry.db" not in path.name}


def test_defaults_fill_what_the_file_leaves_out(log: EventLog, write: Write) -> None:
    path = write(
        "e.csv",
        "user_id,item_id,event_time,weight\nu1,i1,2024-01-01T00:00:00Z,\nu1,i2,2024-01-02 02:00:00+02:00,2.5\n",
    )
    report = adds_up(ingest(log, events=path, now=NOW).events)
    assert (report.read, report.accepted) == (2, 2)
    rows = stored_events(log)
    assert [(row["service"], row["action"], row["weight"]) for row in rows] == [
        ("default", "view", 1.0),
        ("default", "view", 2.5),
    ]
    assert rows[1]["event_time"] == datetime(2024, 1, 2, tzinfo=UTC)
    assert all(len(row["event_id"]) == 32 for row in rows)
    assert log.watermark() == datetime(2024, 1, 2, tzinfo=UTC)
    assert log.default_as_of() == datetime(2024, 1, 2, microsecond=1, tzinfo=UTC)


BAD_ROWS = [
    (event("", "i", 1), "user_id is null or empty"),
    (event("u", "i", 1) | {"user_id": None}, "user_id is null or empty"),
    (event(" \t", "i", 1), "user_id is null or empty"),
    (event("u", "", 1), "item_id is null or empty"),
    (event("u", "i", 1) | {"event_time": None}, "event_time is null or empty"),
    (event("u", "i", 1) | {"event_time": "2024-02-30"}, "event_time is not a time"),
    (event("u", "i", 1) | {"event_time": "infinity"}, "event_time is not a time"),
    (event("u", "i", 1) | {"event_time": "epoch"}, "event_time is not a time"),
    (event("u", "i", 1) | {"event_time": "1700000000"}, "event_time is not a time"),
    (event("u", "i", 1) | {"event_time": "1066-10-14"}, "event_time lies before 1900"),
    (event("u", "i", 1) | {"event_time": "2024-06-01 00:00:05.000001"}, "event_time lies in the future"),
    (event("u", "i", 1, weight="heavy"), "weight is not a number"),
    (event("u", "i", 1, weight="nan"), "weight is not finite"),
    (event("u", "i", 1, weight="-inf"), "weight is not finite"),
    (event("u", "i", 1, weight="1e39"), "weight is not finite"),
]


def test_a_clock_that_runs_ahead_is_clamped_where_the_settings_say_so(log: EventLog, write: Write) -> None:
    """The time becomes that of the ingest; ids stay those of the given content, so the same file is known again."""
    ahead = [event("ann", "a", 1) | {"event_time": time} for time in ("2024-06-01 00:00:05", "2024-06-01 01:00:00")]
    named = event("ann", "b", 1, event_id="e1") | {"event_time": "2024-06-02"}
    path = write("e.parquet", [row | {"event_id": None} for row in ahead] + [named])
    clamping = EventLog(log.database, log.settings.model_copy(update={"clamp_clocks": True}))
    report = adds_up(ingest(clamping, events=path, now=NOW).events)
    assert (report.accepted, report.clamped, report.rejected_rows) == (3, 2, 0)
    kept = stored_events(log)
    assert sorted(row["event_time"] for row in kept) == [NOW, NOW, NOW + timedelta(seconds=5)]
    for later in (NOW + timedelta(minutes=1), NOW + timedelta(days=7)):
        again = adds_up(ingest(clamping, events=path, now=later).events)
        assert (again.accepted, again.duplicates, again.clamped) == (0, 3, 0)
    assert stored_events(log) == kept
    other = write("other.parquet", [named | {"item_id": "c"}])
    assert adds_up(ingest(clamping, events=other, now=NOW).events).rejected == {events_module.TAKEN: 1}
    strict = EventLog(log.database, log.settings.model_copy(update={"max_clock_ahead": 3600.0}))
    report = adds_up(ingest(strict, events=path, now=NOW).events)
    assert report.rejected == {"event_time lies in the future": 1, events_module.TAKEN: 1}


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_bad_rows_go_to_the_rejects_with_their_reason(log: EventLog, write: Write, form: str) -> None:
    good = event("u", "i", 1, weight="1")
    rows = [{"note": "kept", "weight": None} | row for row in [good, *(row for row, _ in BAD_ROWS)]]
    table = pa.Table.from_pylist(rows, schema=pa.schema([(column, pa.string()) for column in rows[-1]]))
    if form == "csv":
        text = "".join(",".join(row[c] or "" for c in table.column_names) + "\n" for row in rows)
        path = write("bad.csv", ",".join(table.column_names) + "\n" + text)
    else:
        path = write("bad.parquet", table)
    report = adds_up(ingest(log, events=path, now=NOW).events)
    assert (report.read, report.accepted, report.duplicates) == (16, 1, 0)
    assert report.rejects is not None
    assert report.rejects.parent == log.home / "rejects"
    assert report.rejects.name.startswith("bad-")
    rejects = pq.read_table(report.rejects).to_pylist()
    assert [row["reason"] for row in rejects] == [reason for _, reason in BAD_ROWS]
    assert [row["row"] for row in rejects] == list(range(2, 17))
    assert {row["note"] for row in rejects} == {"kept"}
    assert rejects[5]["event_time"] == "2024-02-30"


def test_an_event_at_this_very_moment_is_not_in_the_future(log: EventLog, write: Write) -> None:
    path = write("e.parquet", [{"user_id": "u", "item_id": "i", "event_time": NOW}])
    assert adds_up(ingest(log, events=path, now=NOW).events).accepted == 1


@pytest.mark.parametrize(
    "time",
    [
        pa.array([datetime(2024, 1, 2, 3)], pa.timestamp("ns")),
        pa.array([datetime(2024, 1, 2, 3)], pa.timestamp("us")),
        pa.array([datetime(2024, 1, 2, 3)], pa.timestamp("ms", tz="UTC")),
        pa.array([datetime(2024, 1, 2, 3, tzinfo=UTC)], pa.timestamp("s", tz="Europe/Berlin")),
        pa.array(["2024-01-02T04:00:00+01:00"]),
    ],
    ids=lambda array: str(array.type),
)
def test_every_timestamp_type_means_the_same_moment(log: EventLog, write: Write, time: pa.Array) -> None:
    path = write("e.parquet", pa.table({"user_id": [7], "item_id": ["i"], "event_time": time}))
    assert adds_up(ingest(log, events=path, now=NOW).events).accepted == 1
    assert stored_events(log)[0]["user_id"] == "7"
    assert log.watermark() == datetime(2024, 1, 2, 3, tzinfo=UTC)


def test_the_same_file_twice_changes_nothing(log: EventLog, write: Write) -> None:
    rows = [event(f"u{n % 9}", f"i{n % 4}", 1 + n % 20) for n in range(200)]  # some rows are identical
    rows.append(event("", "i", 1))
    path = write("e.parquet", rows)
    first = ingest(log, events=path, now=NOW)
    segments, files = log.manifest().segments, files_of(log.home)
    second = ingest(log, events=path, now=NOW)
    assert (adds_up(first.events).accepted, adds_up(first.events).duplicates) == (200, 0)
    assert (adds_up(second.events).accepted, adds_up(second.events).duplicates) == (0, 200)
    assert log.manifest().segments == segments
    assert files_of(log.home) == files


def test_identical_rows_of_a_file_are_events_of_their_own(log: EventLog, write: Write) -> None:
    ingest(log, events=write("two.parquet", [event("u", "i", 1)] * 2), now=NOW)
    assert adds_up(ingest(log, events=write("three.parquet", [event("u", "i", 1)] * 3), now=NOW).events).accepted == 1
    assert len({row["event_id"] for row in stored_events(log)}) == 3


def test_a_known_id_with_another_payload_is_rejected(log: EventLog, write: Write) -> None:
    users = ["u1", *(f"v{n}" for n in range(20))]
    stolen = next(user for user in users[1:] if bucket_of(user) != bucket_of("u1"))
    beside = next(f"w{n}" for n in range(5000) if bucket_of(f"w{n}") == bucket_of("u1"))
    ingest(log, events=write("a.parquet", [event("u1", "i1", 1, event_id="e1")]), now=NOW)
    rows = [
        event("u1", "i1", 1, event_id="e1"),
        event("u1", "i2", 1, event_id="e1"),  # another item
        event(stolen, "i1", 1, event_id="e1"),  # another user, of another bucket
        event(beside, "i1", 1, event_id="e1"),  # another user of the same bucket
        event(stolen, "i1", 1, event_id="e2"),  # the first row of an id in a file owns it
        event("u1", "i1", 1, event_id="e2"),
        event(stolen, "i1", 1, event_id="e2"),
        event("u1", "i1", 1, event_id=""),  # none given
    ]
    report = adds_up(ingest(log, events=write("b.parquet", rows), now=NOW).events)
    assert (report.accepted, report.duplicates) == (2, 2)
    assert report.rejected == {"event_id is known with another payload": 4}
    assert report.rejects is not None
    assert pq.read_table(report.rejects)["row"].to_pylist() == [2, 3, 4, 6]


def test_numbers_of_a_kind_do_not_matter_to_the_id(log: EventLog, write: Write) -> None:
    ingest(log, events=write("a.csv", "user_id,item_id,event_time,weight\n1,2,2024-01-01,-0\n"), now=NOW)
    table = pa.table({"user_id": [1], "item_id": [2], "event_time": [datetime(2024, 1, 1)], "weight": [0]})
    assert adds_up(ingest(log, events=write("b.parquet", table), now=NOW).events).duplicates == 1


UNUSABLE = {
    "lacks": (
        "e.csv",
        "user_id,event_time\nu,2024-01-01\n",
        "no column `item_id`; its columns are: user_id, event",
    ),
    "empty": ("e.csv", "", "is empty"),
    "header only": ("e.csv", "user_id,item_id,event_time\n\n", "has no rows"),
    "no rows": ("e.parquet", pa.table({c: pa.array([], "string") for c in EVENTS.names}), "has no rows"),
    "picture": ("e.parquet", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is neither Parquet nor CSV"),
    "utf-16": ("e.csv", "user_id,item_id,event_time\n".encode("utf-16"), "is neither Parquet nor CSV"),
    "web page": ("e.csv", "<html>\n<body>\n", "has no column `user_id`"),
    "cut parquet": ("e.parquet", b"PAR1" + bytes(100), "is a damaged Parquet file"),
    "twice": ("e.csv", "user_id,item_id,event_time,USER_ID\n1,2,2024-01-01,3\n", "has the column `user_id` twice"),
    "float ids": ("e.parquet", [{"user_id": 1.5, "item_id": "i", "event_time": "2024-01-01"}], "column `user_id`"),
    "epoch": ("e.parquet", [{"user_id": "u", "item_id": "i", "event_time": 17}], "it must be a timestamp"),
    "heavy": ("e.parquet", [event("u", "i", 1, weight=NOW)], "it must be a number"),
}


@pytest.mark.parametrize(("name", "content", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_is_one_clear_line(log: EventLog, write: Write, name: str, content: Any, message: str) -> None:
    path = write(name, content)
    with pytest.raises(InvalidInput, match=message) as raised:
        ingest(log, events=path, now=NOW)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert files_of(log.home) == set()
    assert log.manifest().segments == ()


def test_missing_files_and_no_files(log: EventLog, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no events file .*nowhere\.csv"):
        ingest(log, events=tmp_path / "nowhere.csv")
    with pytest.raises(InvalidInput, match="is no file"):
        ingest(log, events=tmp_path)
    with pytest.raises(InvalidInput, match="nothing to ingest"):
        ingest(log)


def test_one_bad_file_of_several_keeps_all_out(log: EventLog, write: Write) -> None:
    events = write("e.parquet", [event("u", "i", 1)])
    users = write("u.parquet", [{"user_id": "u", "Spare Time": 1}])
    with pytest.raises(InvalidInput, match="`Spare Time`"):
        ingest(log, events=events, users=users, now=NOW)
    assert files_of(log.home) == set()
    assert log.manifest().segments == ()


def test_paths_with_quotes_and_wildcards(tmp_path: Path) -> None:
    folder = tmp_path / "it's [a] home*"
    settings = FeatureSettings(home=folder)
    folder.mkdir()
    database = Database(settings.database_url)
    upgrade(database)
    log = EventLog(database, settings)
    path = folder / "wh?t's.parquet"
    pq.write_table(pa.Table.from_pylist([event("u", "i", 1), event("", "i", 1)]), path)
    for _ in range(2):
        assert adds_up(ingest(log, events=path, now=NOW).events).rejected_rows == 1
    assert log.user_ids(bucket_of("u")) == ["u"]
    database.close()


def test_an_ingest_that_was_overtaken_judges_again(log: EventLog, write: Write) -> None:
    path = write("e.parquet", [event(f"u{n}", "i", 1) for n in range(50)])
    users = write("u.parquet", [{"user_id": f"u{n}"} for n in range(50)])
    overtaken: list[TableReport] = []

    def overtake(step: str, done: int, total: int, note: str = "") -> None:
        if step == "write users" and done == total and not overtaken:
            overtaken.append(adds_up(ingest(log, events=path, users=users, now=NOW).events))

    report = ingest(log, events=path, users=users, now=NOW, progress=overtake)
    assert overtaken[0].accepted == 50
    assert (adds_up(report.events).accepted, adds_up(report.events).duplicates) == (0, 50)
    assert (adds_up(report.users).added, adds_up(report.users).unchanged) == (0, 50)
    assert len(stored_events(log)) == 50
    assert sweep(log.home, log.manifest, older_than=-1) == []


def test_an_overtaken_ingest_sees_ids_that_others_took(log: EventLog, write: Write) -> None:
    mine = write("mine.parquet", [event("u1", "i", 1, event_id="e"), event("u1", "i", 2, event_id="f")])
    theirs = write("theirs.parquet", [event("someone else", "i", 1, event_id="e")])
    reports: list[IngestReport] = []

    def overtake(step: str, done: int, total: int, note: str = "") -> None:
        if step == "write events" and done == total and not reports:
            reports.append(ingest(log, events=theirs, now=NOW))

    report = adds_up(ingest(log, events=mine, now=NOW, progress=overtake).events)
    assert (report.accepted, report.rejected_rows) == (1, 1)
    assert [row["event_id"] for row in stored_events(log)] == ["e", "f"]


def test_two_ingests_at_once_take_every_event_once(database_url: str, home: Path, write: Write) -> None:
    home.mkdir()
    database = Database(database_url)
    upgrade(database)
    log = EventLog(database, FeatureSettings(home=home))
    files = [write(f"{n}.parquet", [event(f"u{u}", "i", 1 + n + d) for u in range(40) for d in (0, 1)]) for n in (0, 1)]
    with ThreadPoolExecutor() as threads:
        done = list(threads.map(lambda path: ingest(log, events=path, now=NOW), files * 2))
    reports = [adds_up(report.events) for report in done]
    assert sum(report.accepted for report in reports) == len(stored_events(log)) == 120
    for bucket in {segment.bucket for segment in log.manifest().segments}:
        segments = log.manifest().segments_of(SegmentKind.EVENTS, (bucket,))
        firsts = [segment.first_position for segment in segments]
        assert firsts == [1, *(segment.last_position + 1 for segment in segments[:-1])]
    database.close()


def test_large_files_are_taken_in_parts(log: EventLog, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [event(f"u{n % 50}", f"i{n % 7}", 1 + n % 28, event_id=f"e{n}") for n in range(1000)]
    monkeypatch.setattr(events_module, "GROUP_ROWS", 30)  # fewer than some buckets have
    monkeypatch.setattr(events_module, "BATCH_ROWS", 7)
    steps = []
    report = ingest(
        log,
        events=write("e.parquet", rows),
        now=NOW,
        progress=lambda step, done, total, note="": steps.append((step, done, total)),
    )
    assert adds_up(report.events).accepted == 1000
    assert {row["event_id"] for row in stored_events(log)} == {row["event_id"] for row in rows}
    total = steps[-1][2]
    assert total > 10
    assert steps[-1] == ("write events", total, total)


@pytest.mark.parametrize("memory", ["much", "12"])
def test_a_memory_limit_that_is_none(log: EventLog, write: Write, memory: str) -> None:
    limited = EventLog(log.database, log.settings.model_copy(update={"ingest_memory": memory}))
    with pytest.raises(InvalidInput, match=f"PORTRAIT_INGEST_MEMORY is '{memory}': give a size such as 1GB"):
        ingest(limited, events=write("e.parquet", [event("u", "i", 1)]))


def test_too_little_memory_is_said(log: EventLog, write: Write) -> None:
    rows = [event(f"u{n}", "i" * 200, 1) for n in range(40_000)]
    limited = EventLog(log.database, log.settings.model_copy(update={"ingest_memory": "6MB"}))
    with pytest.raises(InvalidInput, match="PORTRAIT_INGEST_MEMORY is 6MB, which is too little"):
        ingest(limited, events=write("e.parquet", rows), now=NOW)
    assert log.manifest().segments == ()


def test_positions_of_a_bucket_are_one_sequence(log: EventLog, write: Write) -> None:
    users = write("u.parquet", [{"user_id": "u"}])
    for day in (1, 2):
        ingest(log, events=write("e.parquet", [event("u", "a", day), event("u", "b", day)]), users=users, now=NOW)
    bucket = bucket_of("u")
    manifest = log.manifest()
    spans = sorted((s.first_position, s.last_position) for s in manifest.segments)
    assert spans == [(1, 2), (3, 3), (4, 5)]
    assert manifest.next_positions[bucket] == 6


KILLED = """
import os, signal, sys
from pathlib import Path
from datetime import UTC, datetime
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database

def kill(step, done, total):
    if step == "write users" and done == total:
        os.kill(os.getpid(), signal.SIGKILL)

settings = FeatureSettings(home=Path(sys.argv[1]))
log = EventLog(Database(settings.database_url), settings)
ingest(log, events=Path(sys.argv[2]), users=Path(sys.argv[3]), now=datetime(2024, 6, 1, tzinfo=UTC), progress=kill)
"""


def test_a_kill_leaves_nothing_visible_and_a_rerun_completes(log: EventLog, write: Write) -> None:
    events = write("e.parquet", [event(f"u{n}", "i", 1) for n in range(300)])
    users = write("u.parquet", [{"user_id": f"u{n}"} for n in range(310)])
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(log.home), str(events), str(users)], env=os.environ, check=False
    )
    assert child.returncode == -signal.SIGKILL
    left = files_of(log.home)
    assert {path.parts[0] for path in left} == {"log", "profiles", "staging"}  # written, but not there
    assert log.manifest().segments == ()
    assert (log.users_count(), log.watermark()) == (0, None)
    report = ingest(log, events=events, users=users, now=NOW)
    assert (adds_up(report.events).accepted, adds_up(report.users).added) == (300, 310)
    assert log.users_count() == 310
    committed = {Path(segment.path) for segment in log.manifest().segments}
    sweep(log.home, log.manifest, older_than=-1)
    assert files_of(log.home) == committed


def test_sweeping_spares_what_is_young(log: EventLog, write: Write) -> None:
    orphan = log.home / "log" / "bucket=00" / "orphan.parquet"
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    path = write("e.parquet", [event("u", "i", 1)])
    ingest(log, events=path, now=NOW)
    assert orphan.exists()
    old = datetime.now(UTC) - timedelta(days=2)
    os.utime(orphan, (old.timestamp(), old.timestamp()))
    ingest(log, events=path, now=NOW)
    assert not orphan.exists()


def test_ingest_on_both_databases(database_url: str, home: Path, write: Write) -> None:
    home.mkdir()
    database = Database(database_url)
    upgrade(database)
    log = EventLog(database, FeatureSettings(home=home))
    path = write("e.parquet", [event(f"u{n}", "i", 1 + n % 9, event_id=f"e{n}") for n in range(100)])
    users = write("u.parquet", [{"user_id": f"u{n}", "age": n} for n in range(100)])
    items = write("i.parquet", [{"item_id": "i", "text": "I"}])
    first = ingest(log, path, items, users, now=NOW)
    assert adds_up(first.events).accepted == 100
    second = ingest(log, path, items, users, now=NOW)
    assert adds_up(second.events).duplicates == 100
    assert (adds_up(second.users).unchanged, adds_up(second.items).unchanged) == (100, 1)
    assert log.users_count() == 100
    assert log.watermark() == datetime(2024, 1, 9, tzinfo=UTC)
    database.close()
