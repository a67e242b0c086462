"""Files as exports write them: ids in other types, a hive folder; and ids by the same rules as in JSON."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.catalogue import catalogue
from portrait.feature_repo.ingest.event_ids import EventIds
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.labels import NEEDED, Labels
from portrait.feature_repo.ingest.record_fields import ID_BYTES, UnfitRecord
from portrait.feature_repo.ingest.records import event_of, user_of
from portrait.feature_repo.ingest.source import open_source
from portrait.feature_repo.log.duck import connect
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.schemas import microseconds
from tests.feature_repo.conftest import NOW, Write, event
from tests.feature_repo.ingest.test_ingest import adds_up, stored_events
from tests.feature_repo.ingest.test_users_and_items import profiles

NEITHER = "user_id is neither text nor a whole number"


def table_of(column: str, values: pa.Array) -> pa.Table:
    count = len(values)
    given = {"user_id": ["u"] * count, "item_id": [f"i{n}" for n in range(count)], "event_time": ["2024-01-01"] * count}
    return pa.table(given | {column: values})


@pytest.mark.parametrize(
    ("values", "ids", "reasons"),
    [
        (pa.array([Decimal(7), Decimal(10**37), None], pa.decimal128(38, 0)), ["7", str(10**37)], [None]),
        (pa.array([Decimal("7.00"), Decimal("7.50")], pa.decimal128(10, 2)), ["7"], [NEITHER]),
        (pa.array([7.0, None, float("nan"), -0.0, 2.0**53 - 1]), ["0", "7", str(2**53 - 1)], [None, None]),
        (pa.array([8.0, 7.5, 2.0**53, float("inf"), 1e300]), ["8"], [NEITHER] * 4),
        (pa.array([7.0, 2.0**24], pa.float32()), ["7"], [NEITHER]),
        (pa.array([7, 2**64 - 1], pa.uint64()), ["18446744073709551615", "7"], []),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_whole_numbers_are_ids_in_any_type(
    log: EventLog, write: Write, values: pa.Array, ids: list[str], reasons: list[str | None]
) -> None:
    report = adds_up(ingest(log, events=write("e.parquet", table_of("user_id", values)), now=NOW).events)
    assert sorted({row["user_id"] for row in stored_events(log)}) == sorted(ids)
    expected = [reason or "user_id is null or empty" for reason in reasons]
    assert report.rejected == {reason: expected.count(reason) for reason in expected}


@pytest.mark.parametrize("column", ["item_id", "service", "action", "event_id"])
def test_a_fraction_is_no_id(log: EventLog, write: Write, column: str) -> None:
    """An event id of 1.5 must not become a missing one, which is made of the content."""
    path = write("e.parquet", table_of(column, pa.array([1.0, 1.5])))
    report = adds_up(ingest(log, events=path, now=NOW).events)
    assert report.rejected == {f"{column} is neither text nor a whole number": 1}
    assert [row[column] for row in stored_events(log)] == ["1"]


def test_ids_of_users_items_and_labels(log: EventLog, write: Write, tmp_path: Path) -> None:
    whole = pa.array([Decimal(7), Decimal(8)], pa.decimal128(38, 0))
    ingest(log, users=write("u.parquet", pa.table({"user_id": whole, "age": [1.0, None]})), now=NOW)
    assert profiles(log, "age") == {"7": 1.0, "8": None}
    ingest(log, items=write("i.parquet", pa.table({"item_id": [7.0, 8.0], "text": ["a", "b"]})), now=NOW)
    assert catalogue(log)["item_id"].to_pylist() == ["7", "8"]
    labels = write("l.parquet", pa.table({"user_id": [7.0, 7.5, None], "label": [1, 0, 1]}))
    with connect("1GB", tmp_path) as duck:
        staged = Labels(duck, open_source(duck, labels, "labels", NEEDED).prepared(duck, tmp_path), 0, NOW, NOW)
        assert duck.execute(f"FROM {staged.rejected} ORDER BY row").fetchall() == [
            (2, NEITHER),
            (3, "user_id is null or empty"),
        ]


IDS: list[Any] = ["a", " a ", "", " ", "a\0b", "\0", "x" * ID_BYTES, "x" * (ID_BYTES + 1), "é" * 513, "\x1f", "👍", "7"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["user_id", "item_id", "service", "action", "event_id"])
def test_ids_are_judged_as_in_json(log: EventLog, write: Write, form: str, column: str) -> None:
    rows = [event("u", f"i{n}", 1) | {column: value} for n, value in enumerate(IDS)]
    expected: dict[str, int] = {}
    accepted = []
    for row in rows:
        try:
            accepted.append(event_of(dict(row), EventIds(), microseconds(NOW)).user_id)
        except UnfitRecord as unfit:
            expected[str(unfit)] = expected.get(str(unfit), 0) + 1
    csv = ",".join(rows[0]) + "\n" + "".join(",".join(f'"{value}"' for value in row.values()) + "\n" for row in rows)
    report = adds_up(ingest(log, events=write(f"e.{form}", csv if form == "csv" else rows), now=NOW).events)
    assert report.rejected == expected
    assert sorted(row["user_id"] for row in stored_events(log)) == sorted(map(str, accepted))


def test_picks_are_judged_as_in_json(log: EventLog, write: Write) -> None:
    picks = [["a"], ["a\0"], ["x" * (ID_BYTES + 1), "a"], ["", " "], None, ["\0"]]
    rows = [{"user_id": f"u{n}", "onboarding_items": items} for n, items in enumerate(picks)]
    expected = []
    for row in rows:
        try:
            user_of(dict(row), {}, 0)
        except UnfitRecord as unfit:
            expected.append(str(unfit))
    report = ingest(log, users=write("u.parquet", rows), now=NOW).users
    assert report is not None
    assert report.rejected == {reason: expected.count(reason) for reason in expected}
    assert profiles(log, "onboarding_items") == {"u0": ["a"], "u3": None, "u4": None}


AS_KINDS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "binary": lambda values: values,
    "string": lambda values: values.view(pa.string()),
    "large": lambda values: values.cast(pa.large_binary()).view(pa.large_string()),
    "dictionary": lambda values: values.view(pa.string()).dictionary_encode(),
}


@pytest.mark.parametrize("kind", AS_KINDS)
@pytest.mark.parametrize("column", ["user_id", "item_id", "service", "action", "event_id"])
def test_bytes_that_are_no_text_cost_their_row(log: EventLog, write: Write, column: str, kind: str) -> None:
    """DuckDB refuses such a file as a whole."""
    values = AS_KINDS[kind](pa.array([b"ann", b"caf\xe9", b"", b"bob", b"\xed\xa0\xbd", b"a\0"], pa.binary()))
    report = adds_up(ingest(log, events=write("e.parquet", table_of(column, values)), now=NOW).events)
    expected = {f"{column} is not valid Unicode": 2, f"{column} holds a NUL character": 1}
    blank = {"user_id is null or empty": 1} if column == "user_id" else {"item_id is null or empty": 1}
    assert report.rejected == expected | (blank if column in ("user_id", "item_id") else {})
    assert {"ann", "bob"} <= {row[column] for row in stored_events(log)}
    assert report.rejects is not None
    lines = pq.read_table(report.rejects).filter(pa.compute.field("reason") == f"{column} is not valid Unicode")
    assert lines["row"].to_pylist() == [2, 5]
    assert "caf\\xe9" in lines["line"][0].as_py() and r"\xed\xa0\xbd" in lines["line"][1].as_py()


def test_bytes_that_are_no_text_in_columns_that_mean_nothing_cost_nothing(log: EventLog, write: Write) -> None:
    table = table_of("user_id", pa.array(["a", "b"])).append_column(
        "picture", pa.array([b"\xff", b"\xfe"], pa.binary())
    )
    assert adds_up(ingest(log, events=write("e.parquet", table), now=NOW).events).accepted == 2
    bad = pa.array([b"c", b"\xff"], pa.binary())
    more = table_of("user_id", bad).append_column("picture", pa.array([b"\xff", b"\xfe"], pa.binary()))
    assert adds_up(ingest(log, events=write("f.parquet", more), now=NOW).events).accepted == 1


def test_bytes_that_are_no_text_in_users_items_and_labels(log: EventLog, write: Write, tmp_path: Path) -> None:
    names = pa.array([b"u1", b"u2", b"\xff", b"u4"], pa.binary()).view(pa.string())
    city = pa.array([b"Rome", b"K\xf6ln", b"Bonn", None], pa.binary()).view(pa.string())
    picks = pa.ListArray.from_arrays(
        [0, 1, 1, 2, 4], pa.array([b"a", b"b", b"c", b"\xfe"], pa.binary()).view(pa.string())
    )
    when = pa.array([1, 2, 3, 4], pa.timestamp("ns"))
    table = pa.table({"user_id": names, "city": city, "onboarding_items": picks, "age": [1, 2, 3, 4], "seen": when})
    report = adds_up(ingest(log, users=write("u.parquet", table), now=NOW).users)
    assert report.rejected == {
        f"{column} is not valid Unicode": 1 for column in ("city", "user_id", "onboarding_items")
    }
    assert profiles(log, "age") == {"u1": 1} and profiles(log, "onboarding_items") == {"u1": ["a"]}
    table = pa.table(
        {"item_id": ["a", "b", "c"], "text": city[:3], "tags": picks[:3], "vector_v": [[1.0], [2.0], [3.0]]}
    )
    report = adds_up(ingest(log, items=write("i.parquet", table), now=NOW).items)
    assert report.rejected == {"text is not valid Unicode": 1}
    assert catalogue(log)["item_id"].to_pylist() == ["a", "c"]
    labels = write("l.parquet", pa.table({"user_id": names, "label": city}))
    with connect("1GB", tmp_path) as duck:
        source = open_source(duck, labels, "labels", NEEDED).prepared(duck, tmp_path)
        counts = Labels(duck, source, 0, NOW, NOW).keep(NOW, drop_early=False)
        assert (counts.read, counts.kept) == (4, 2)
        assert duck.execute(f"SELECT row, reason FROM {source.malformed}").fetchall() == [
            (2, "label is not valid Unicode"),
            (3, "user_id is not valid Unicode"),
        ]


@pytest.mark.parametrize("folder", ["date=2024-05-01", "user_id=7", "row=1", "reason=x/line=y"])
def test_a_file_of_a_hive_folder_has_the_columns_that_are_in_it(log: EventLog, tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "part-0.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([event("u", "i", 1), event("", "i", 1)]), path)
    report = adds_up(ingest(log, events=path, now=NOW).events)
    assert (report.accepted, report.rejected) == (1, {"user_id is null or empty": 1})
    assert report.rejects is not None
    assert pq.read_schema(report.rejects).names == ["row", "reason", "user_id", "item_id", "event_time", "line"]
