"""Rows of the catalogue after a position: from segments and inbox, in the log's order."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, event

from portrait.feature_repo.history.catalogue import items_position, items_since
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.forgotten import Forgotten
from portrait.feature_repo.log.inbox import ArrivingRecord, Inbox
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, Segment, SegmentKind, segment_row
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database
from tests.feature_repo.conftest import NOW, Write


@pytest.fixture
def log(database_url: str, home: Any) -> Iterator[EventLog]:
    """An empty log on each database."""
    home.mkdir()
    database = Database(database_url)
    yield EventLog(database, FeatureSettings(home=home))
    database.close()


def accept(log: EventLog, *items: dict[str, Any]) -> None:
    """Items one by one, as the gateway takes them."""
    records = [
        ArrivingRecord(SegmentKind.ITEMS, ITEMS_BUCKET, json.dumps({"service": "default", **item})) for item in items
    ]
    Inbox(log.database, Forgotten(log.home)).accept(records)


def seal(log: EventLog, *rows: dict[str, Any]) -> None:
    """Move these positions from the inbox to a positioned segment, the rows made whole."""
    path = log.home / "catalogue" / f"sealed-{rows[0]['position']}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    places = [row["position"] for row in rows]
    segment = Segment(
        path.stem, SegmentKind.ITEMS, ITEMS_BUCKET, f"catalogue/{path.name}", len(rows),
        first_position=min(places), last_position=max(places), positioned=True,
    )  # fmt: skip
    with log.database.transaction() as session:
        session.add(segment_row(segment, datetime.now(UTC)))
        session.execute(delete(InboxRow).where(InboxRow.bucket == ITEMS_BUCKET, InboxRow.position.in_(places)))


def texts(log: EventLog, position: int) -> list[tuple[str, str | None]]:
    rows = items_since(log, position)[0].select(["item_id", "text"]).to_pylist()
    return [(row["item_id"], row["text"]) for row in rows]


def test_an_empty_log_has_no_items(log: EventLog) -> None:
    table, position = items_since(log, 0)
    assert (table.num_rows, position, items_position(log)) == (0, 0, 0)
    assert table.column_names == ["service", "item_id", "text", "tags"]


def test_bulk_rows_and_accepted_rows_come_in_the_order_of_the_log(log: EventLog, write: Write) -> None:
    ingest(log, items=write("a.parquet", [{"item_id": "b", "text": "bee"}, {"item_id": "a", "text": "ant"}]), now=NOW)
    accept(log, {"item_id": "c", "text": "cat", "tags": ["pet"]}, {"item_id": "d"})
    ingest(log, items=write("b.parquet", [{"item_id": "e", "text": "eel"}, {"item_id": "a", "text": "ape"}]), now=NOW)
    table, position = items_since(log, 0)
    assert position == items_position(log) == 6
    assert table["item_id"].to_pylist() == ["a", "b", "c", "d", "a", "e"]  # a file's rows are sorted by key
    assert table["text"].to_pylist() == ["ant", "bee", "cat", None, "ape", "eel"]
    assert table["tags"].to_pylist() == [None, None, ["pet"], None, None, None]
    assert set(table["service"].to_pylist()) == {"default"}
    for since in range(6):
        assert items_since(log, since)[0].equals(table.slice(since))
    assert items_since(log, 6)[0].num_rows == 0 and items_since(log, 99)[1] == 99


def test_what_an_accepted_row_does_not_give_stays(log: EventLog, write: Write) -> None:
    rows = [{"item_id": "a", "text": "ant", "tags": ["small"], "vector_audio": [1.0, 2.0]}]
    ingest(log, items=write("a.parquet", rows), now=NOW)
    accept(log, {"item_id": "a", "text": "ape"}, {"item_id": "a", "tags": None}, {"item_id": "a", "vector_pic": [3.0]})
    accept(log, {"service": "shop", "item_id": "a", "text": "axe"})  # another item
    table, _ = items_since(log, 1)
    assert table.to_pylist() == [
        {"service": s, "item_id": "a", "text": text, "tags": tags, "vector_audio": audio, "vector_pic": pic}
        for s, text, tags, audio, pic in [
            ("default", "ape", ["small"], [1.0, 2.0], None),
            ("default", "ape", None, [1.0, 2.0], None),
            ("default", "ape", None, [1.0, 2.0], [3.0]),
            ("shop", "axe", None, None, None),
        ]
    ]
    assert table.schema.field("vector_pic").type == pa.list_(pa.float32())
    assert items_since(log, 3)[0].to_pylist() == table.slice(2).to_pylist()  # however far one is


def test_sealed_rows_are_the_same_rows(log: EventLog, write: Write) -> None:
    ingest(log, items=write("a.parquet", [{"item_id": "a", "text": "ant", "tags": ["small"]}]), now=NOW)
    accept(log, {"item_id": "b", "text": "bee"}, {"item_id": "a", "text": "ape"}, {"item_id": "c", "text": "cat"})
    before = [items_since(log, position)[0].to_pylist() for position in range(5)]
    seal(
        log,
        {"service": "default", "item_id": "b", "text": "bee", "tags": None, "position": 2},
        {"service": "default", "item_id": "a", "text": "ape", "tags": ["small"], "position": 3},
    )
    assert [items_since(log, position)[0].to_pylist() for position in range(5)] == before
    assert texts(log, 2) == [("a", "ape"), ("c", "cat")]


def test_rows_that_are_sealed_while_one_reads_come_once(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    accept(log, {"item_id": "b", "text": "bee"}, {"item_id": "c", "text": "cat"})
    manifest = log.manifest

    def sealed_meanwhile() -> Any:
        seal(log, {"service": "default", "item_id": "b", "text": "bee", "tags": None, "position": 1})
        accept(log, {"item_id": "d", "text": "dog"})
        return manifest()

    monkeypatch.setattr(log, "manifest", sealed_meanwhile)
    table, position = items_since(log, 0)
    assert table["text"].to_pylist() == ["bee", "cat"] and position == 2  # what came meanwhile is the next call's
    monkeypatch.undo()
    assert texts(log, 2) == [("d", "dog")]


def test_nothing_new_costs_one_query(log: EventLog, write: Write) -> None:
    ingest(log, items=write("a.parquet", [{"item_id": "a", "text": "ant"}]), now=NOW)
    queries: list[str] = []
    event.listen(log.database.engine, "before_cursor_execute", lambda *of: queries.append(of[2]))
    assert items_since(log, 1)[1] == 1
    (only,) = (query for query in queries if query != "BEGIN")
    assert "next_position" in only
