"""Ingest: counts that add up, rejects with reasons, the same file twice, one commit or nothing."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.log.catalogue import catalogue
from feature_repo.log.event_log import EventLog
from feature_repo.log.ingest import ingest
from feature_repo.log.manifest import Kind
from feature_repo.log.profiles import profile_schema
from feature_repo.log.report import TableReport
from feature_repo.schemas import EVENTS, PROFILE_FIXED
from tests.feature_repo.log.conftest import Write

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def stored_events(log: EventLog) -> pa.Table:
    tables = [pq.read_table(log.home / s.path, partitioning=None) for s in log.manifest().of(Kind.EVENTS)]
    return pa.concat_tables(tables).sort_by(
        [("user_id", "ascending"), ("event_time", "ascending"), ("event_id", "ascending")]
    )


def adds_up(report: TableReport | None) -> TableReport:
    assert report is not None
    assert report.read == report.accepted + report.duplicates + report.rejected_rows
    return report


def test_defaults_fill_what_the_file_leaves_out(log: EventLog, write: Write) -> None:
    path = write(
        "e.csv", "user_id,item_id,event_time,weight\nu1,i1,2024-01-01T00:00:00Z,\nu1,i2,2024-01-02 02:00:00+02:00,2.5\n"
    )
    report = adds_up(ingest(log, events=path, now=NOW).events)
    assert (report.read, report.accepted) == (2, 2)
    stored = stored_events(log)
    assert stored.schema == EVENTS
    rows = stored.to_pylist()
    assert [(r["service"], r["action"], r["weight"]) for r in rows] == [
        ("default", "view", 1.0),
        ("default", "view", 2.5),
    ]
    assert rows[1]["event_time"] == datetime(2024, 1, 2, tzinfo=UTC)
    assert all(len(row["event_id"]) == 32 for row in rows)


def test_users_and_items(log: EventLog, write: Write) -> None:
    users = write(
        "u.csv",
        "user_id,created_time,onboarding_items,country,age,zip\nu1,2024-01-01,a|b,de,31,01234\nu2,,,fr,,99999\n",
    )
    items = write("i.parquet", [{"item_id": "a", "text": "A", "tags": ["x"], "vector_image": [1.0, 2.0]}])
    report = ingest(log, users=users, items=items, now=NOW)
    assert adds_up(report.users).added == 2
    assert adds_up(report.items).added == 1
    assert profile_schema(log) == pa.schema(
        [*PROFILE_FIXED, ("age", pa.int64()), ("country", pa.string()), ("zip", pa.string())]
    )
    assert catalogue(log).to_pylist() == [
        {"service": "default", "item_id": "a", "text": "A", "tags": ["x"], "vector_image": [1.0, 2.0]}
    ]
    again = ingest(log, users=users, items=items, now=NOW)
    assert adds_up(again.users).unchanged == 2
    assert adds_up(again.items).unchanged == 1
