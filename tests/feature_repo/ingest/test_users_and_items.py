"""Users and items: current rows, kept columns, types, and what is rejected."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.catalogue import catalogue
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.ingest_report import TableReport
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.schemas import PROFILE_FIXED, TIME
from portrait.registry.errors import InvalidInput
from tests.feature_repo.conftest import NOW, Write


def counts(report: TableReport | None) -> tuple[int, int, int, int, int]:
    assert report is not None
    assert report.read == report.accepted + report.duplicates + report.rejected_rows
    assert report.accepted == report.added + report.changed
    return report.added, report.changed, report.unchanged, report.duplicates, report.rejected_rows


def profiles(log: EventLog, *columns: str) -> dict[str, Any]:
    """Current profiles by user: the columns' values."""
    snapshot = cut_snapshot(log, as_of=NOW)
    tables = (snapshot.read(bucket, ["user_id", *columns]) for bucket in snapshot.buckets)
    rows = (tuple(row.values()) for table in tables for row in table.to_pylist())
    return {user: values[0] if len(columns) == 1 else tuple(values) for user, *values in rows}


def test_columns_of_a_csv_get_the_narrowest_type_that_fits(log: EventLog, write: Write) -> None:
    text = (
        "user_id,created_time,onboarding_items,country,age,zip,score,premium,renewed,blank\n"
        "u1,2024-01-01,a|b,de,31,01234,1.5,true,2024-02-01,\n"
        'u2,,"[""c"",""d|e""]",fr,,99999,2,FALSE,2024-02-01T10:00:00+02:00,\n'
    )
    assert counts(ingest(log, users=write("u.csv", text), now=NOW).users) == (2, 0, 0, 0, 0)
    further = {
        "age": pa.int64(),
        "blank": pa.string(),
        "country": pa.string(),
        "premium": pa.bool_(),
        "renewed": TIME,
        "score": pa.float64(),
        "zip": pa.string(),
    }
    assert profile_schema(log) == pa.schema([*PROFILE_FIXED, *further.items()])
    assert profiles(log, "created_time", "onboarding_items", "age", "zip", "premium", "renewed") == {
        "u1": (datetime(2024, 1, 1, tzinfo=UTC), ["a", "b"], 31, "01234", True, datetime(2024, 2, 1, tzinfo=UTC)),
        "u2": (None, ["c", "d|e"], None, "99999", False, datetime(2024, 2, 1, 8, tzinfo=UTC)),
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5"], pa.float64()),  # a cast to a whole number would round
        (["1", "9223372036854775808"], pa.float64()),
        (["0", "-7"], pa.int64()),
        (["007", "8"], pa.string()),
        (["1", "x"], pa.string()),
        (["Infinity", "nan"], pa.string()),  # a surname, perhaps
        (["epoch", "today"], pa.string()),
        (["2024-01-01", "1"], pa.string()),
    ],
)
def test_no_type_of_a_csv_column_loses_anything(
    log: EventLog, write: Write, values: list[str], kind: pa.DataType
) -> None:
    text = "user_id,field\n" + "".join(f"u{n},{value}\n" for n, value in enumerate(values))
    assert counts(ingest(log, users=write("u.csv", text), now=NOW).users)[0] == len(values)
    assert profile_schema(log).field("field").type == kind


def test_parquet_types_become_the_five_types(log: EventLog, write: Write) -> None:
    table = pa.table(
        {
            "user_id": pa.array(["u"]).dictionary_encode(),
            "small": pa.array([1], pa.int8()),
            "huge": pa.array([2**63], pa.uint64()),
            "half": pa.array([0.5], pa.float32()),
            "price": pa.array([1], pa.int32()).cast(pa.decimal128(12, 2)),
            "day": pa.array([datetime(2024, 1, 1)], pa.timestamp("s")).cast(pa.date32()),
            "missing": pa.array([math.nan]),
        }
    )
    ingest(log, users=write("u.parquet", table), now=NOW)
    kinds = {field.name: str(field.type) for field in profile_schema(log)}
    assert [kinds[c] for c in ("small", "huge", "half", "price", "day")] == [
        "int64",
        "double",
        "double",
        "double",
        "timestamp[us, tz=UTC]",
    ]
    values = profiles(log, "small", "huge", "half", "price", "day", "missing")["u"]
    assert values == (1, 2.0**63, 0.5, 1.0, datetime(2024, 1, 1, tzinfo=UTC), None)


def test_a_column_keeps_its_value_unless_the_file_has_it(log: EventLog, write: Write) -> None:
    users = [{"user_id": "u1", "country": "de", "age": 1}, {"user_id": "u2", "country": "fr", "age": 2}]
    ingest(log, users=write("a.parquet", users), now=NOW)
    changed = [
        {"user_id": "u1", "country": "at"},
        {"user_id": "u2", "country": "fr"},
        {"user_id": "u3", "country": None},
    ]
    assert counts(ingest(log, users=write("b.parquet", changed), now=NOW).users) == (1, 1, 1, 1, 0)
    assert profiles(log, "country", "age") == {"u1": ("at", 1), "u2": ("fr", 2), "u3": (None, None)}
    emptied = [{"user_id": "u1", "age": None}]
    assert counts(ingest(log, users=write("c.csv", "user_id,age\nu1,\n"), now=NOW).users) == (0, 1, 0, 0, 0)
    assert counts(ingest(log, users=write("d.parquet", emptied), now=NOW).users) == (0, 0, 1, 1, 0)
    assert profiles(log, "country", "age")["u1"] == ("at", None)
    assert profile_schema(log).field("age").type == pa.int64()  # nulls alone say nothing about a type


def test_whole_numbers_become_numbers_when_a_file_brings_others(log: EventLog, write: Write) -> None:
    ingest(log, users=write("a.parquet", [{"user_id": "u1", "age": 1}]), now=NOW)
    ingest(log, users=write("b.parquet", [{"user_id": "u2", "age": 1.5}]), now=NOW)
    assert profile_schema(log).field("age").type == pa.float64()
    assert profiles(log, "age") == {"u1": 1.0, "u2": 1.5}


def test_whole_numbers_stay_so_beside_a_missing_one(log: EventLog, write: Write) -> None:
    """A table with a missing number is written as floats."""
    ingest(log, users=write("a.parquet", [{"user_id": "u1", "age": 1}]), now=NOW)
    floats = pa.table({"user_id": ["u2", "u3", "u4"], "age": [31.0, float("nan"), None]})
    ingest(log, users=write("b.parquet", floats), now=NOW)
    assert profile_schema(log).field("age").type == pa.int64()
    assert profiles(log, "age") == {"u1": 1, "u2": 31, "u3": None, "u4": None}


KNOWN: dict[str, Any] = {"flag": True, "age": 31, "score": 1.5, "seen": NOW, "plan": "gold"}
KINDS = {
    "flag": "true or false",
    "age": "a whole number of 64 bits",
    "score": "a number",
    "seen": "a time",
    "plan": "text",
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("flag", "FALSE", False),
        ("flag", "maybe", None),
        ("flag", "1", None),
        ("age", " 7 ", 7),
        ("age", "7.0", 7),
        ("age", "abc", None),
        ("age", "07", None),  # a code
        ("age", "1_000", None),
        ("age", "true", None),
        ("score", "-2e3", -2000.0),
        ("score", "unknown", None),
        ("score", "1,5", None),
        ("seen", "2024-02-01", datetime(2024, 2, 1, tzinfo=UTC)),
        ("seen", "yesterday", None),
        ("seen", "1704067200", None),
        ("plan", "12", "12"),
        ("plan", "a\0b", None),
    ],
)
def test_a_cell_that_is_no_value_of_its_column_costs_its_row(
    log: EventLog, write: Write, form: str, column: str, value: str, expected: Any
) -> None:
    ingest(log, users=write("a.parquet", [{"user_id": "u0", **KNOWN}]), now=NOW)
    before = profile_schema(log)
    rows = [{"user_id": "u1", column: value}, {"user_id": "u2", column: ""}]
    text = f'user_id,{column}\nu1,"{value}"\nu2,\n'
    report = ingest(log, users=write(f"b.{form}", text if form == "csv" else rows), now=NOW).users
    assert report is not None
    reason = f"{column} holds a NUL character" if "\0" in value else f"{column} is not {KINDS[column]}"
    assert report.rejected == ({} if expected is not None else {reason: 1})
    assert profiles(log, column) == {"u0": KNOWN[column], "u2": None} | (
        {"u1": expected} if not report.rejected else {}
    )
    assert profile_schema(log) == before


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("flag", 1, None),
        ("age", True, None),
        ("age", NOW, None),
        ("score", 2, 2.0),
        ("score", 1e300, 1e300),
        ("score", NOW, None),
        ("seen", 5, None),
        ("plan", 5, "5"),
        ("plan", 5.0, "5"),
        ("plan", 5.5, "5.5"),
        ("plan", True, "true"),
    ],
)
def test_a_value_of_another_type(log: EventLog, write: Write, column: str, value: Any, expected: Any) -> None:
    ingest(log, users=write("a.parquet", [{"user_id": "u0", **KNOWN}]), now=NOW)
    before = profile_schema(log)
    report = ingest(log, users=write("b.parquet", [{"user_id": "u1", column: value}]), now=NOW).users
    assert report is not None
    assert report.rejected == ({} if expected is not None else {f"{column} is not {KINDS[column]}": 1})
    assert profiles(log, column).get("u1") == expected
    assert profile_schema(log) == before


def test_a_name_in_other_letters_is_refused(log: EventLog, write: Write) -> None:
    users, items = [{"user_id": "u1", "age": 1}], [{"item_id": "i", "vector_image": [1.0]}]
    ingest(log, users=write("a.parquet", users), items=write("i.parquet", items), now=NOW)
    with pytest.raises(InvalidInput, match=r"`Age` of users file .*b\.parquet is known as `age`"):
        ingest(log, users=write("b.parquet", [{"user_id": "u1", "Age": 2}]), now=NOW)
    with pytest.raises(InvalidInput, match=r"`vector_Image` of items file .*j\.parquet is known as `vector_image`"):
        ingest(log, items=write("j.parquet", [{"item_id": "i", "vector_Image": [1.0]}]), now=NOW)
    assert profiles(log, "age") == {"u1": 1}


def test_the_first_value_settles_the_type_of_an_empty_column(log: EventLog, write: Write) -> None:
    ingest(log, users=write("a.csv", "user_id,age\nu1,\nu2,\n"), now=NOW)
    assert profile_schema(log).field("age").type == pa.string()
    ingest(log, users=write("b.csv", "user_id,age\nu2,31\n"), now=NOW)
    assert profile_schema(log).field("age").type == pa.int64()
    assert profiles(log, "age") == {"u1": None, "u2": 31}


def test_bad_users_are_rejected(log: EventLog, write: Write) -> None:
    text = (
        "user_id,created_time,score\n"
        ",2024-01-01,1\n"
        "u1,2025-01-01,1\n"
        "u2,soon,1\n"
        "u3,1850-01-01,1\n"
        "u4,2024-01-01,inf\n"
        "u5,2024-01-01,1\n"
        "u5,2024-01-01,1\n"
        "u5,2024-01-02,1\n"
    )
    report = ingest(log, users=write("u.csv", text), now=NOW).users
    assert counts(report) == (1, 0, 0, 1, 6)
    assert report is not None
    assert report.rejected == {
        "user_id is null or empty": 1,
        "created_time lies in the future": 1,
        "created_time is not a time": 1,
        "created_time lies before 1900": 1,
        "score is not finite": 1,
        "user_id occurs again with other fields": 1,
    }
    assert report.rejects is not None
    assert pq.read_table(report.rejects)["row"].to_pylist() == [1, 2, 3, 4, 5, 8]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("First Name", "x", "letters, digits and single underscores"),
        ("a__b", 1, "letters, digits and single underscores"),
        ("position", 1, "has a name that Portrait uses"),
        ("Event_Times", 1, "has a name that Portrait uses"),
        ("tags", ["a"], "must be text, number, bool or timestamp"),
        ("blob", {"a": 1}, "must be text, number, bool or timestamp"),
        ("onboarding_items", 7, "it must be a list"),
    ],
)
def test_unfit_columns_are_named(log: EventLog, write: Write, column: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        ingest(log, users=write("u.parquet", [{"user_id": "u", column: value}]), now=NOW)
    assert f"`{column}`" in str(raised.value)


def test_a_list_that_cannot_be_read_is_rejected(log: EventLog, write: Write) -> None:
    users = write("u.csv", 'user_id,onboarding_items\nu1,"[""a"""\nu2,"[""a""]"\n')
    items = write("i.csv", 'item_id,tags\na,"[x"\nb,x\n')
    report = ingest(log, users=users, items=items, now=NOW)
    assert report.users is not None
    assert report.items is not None
    assert report.users.rejected == {"onboarding_items is no list": 1}
    assert report.items.rejected == {"tags is no list": 1}


def test_onboarding_items_without_content_are_none(log: EventLog, write: Write) -> None:
    rows: list[dict[str, Any]] = [
        {"user_id": "u1", "onboarding_items": []},
        {"user_id": "u2", "onboarding_items": ["", None]},
        {"user_id": "u3", "onboarding_items": ["a", None, "a"]},
    ]
    ingest(log, users=write("u.parquet", rows), now=NOW)
    assert profiles(log, "onboarding_items") == {"u1": None, "u2": None, "u3": ["a", "a"]}


def test_the_catalogue_shows_every_item_as_its_newest_row(log: EventLog, write: Write) -> None:
    assert catalogue(log).column_names == ["service", "item_id", "text", "tags"]
    first = [
        {"item_id": "a", "service": "music", "text": "A", "tags": ["x"], "shelf": 3},
        {"item_id": "a", "service": None, "text": "other A", "tags": None, "shelf": 3},
    ]
    assert counts(ingest(log, items=write("a.parquet", first), now=NOW).items) == (2, 0, 0, 0, 0)
    vectors = [{"item_id": "a", "service": "music", "vector_image": [1.0, 2.5]}]
    assert counts(ingest(log, items=write("b.parquet", vectors), now=NOW).items) == (0, 1, 0, 0, 0)
    assert counts(ingest(log, items=write("b.parquet", vectors), now=NOW).items) == (0, 0, 1, 1, 0)
    table = catalogue(log)
    assert table.schema.field("vector_image").type == pa.list_(pa.float32())
    assert table.to_pylist() == [
        {"service": "default", "item_id": "a", "text": "other A", "tags": None, "vector_image": None},
        {"service": "music", "item_id": "a", "text": "A", "tags": ["x"], "vector_image": [1.0, 2.5]},
    ]


def test_bad_items_are_rejected(log: EventLog, write: Write) -> None:
    rows = [("a", [1.0, 2.0]), ("", [1.0, 2.0]), ("b", [1.0]), ("c", [1.0, math.nan]), ("d", None), ("a", [1.0, 3.0])]
    items = [{"item_id": item, "vector_x": vector} for item, vector in rows]
    report = ingest(log, items=write("i.parquet", items), now=NOW).items
    assert counts(report) == (2, 0, 0, 0, 4)
    assert report is not None
    assert report.rejected == {
        "item_id is null or empty": 1,
        "vector_x has another length than 2": 1,
        "vector_x is not finite": 1,
        "service and item_id occurs again with other fields": 1,
    }
    text = 'item_id,tags,vector_x\ne,p|q,"[1, 2, 3]"\nf,"[""p""]","[1, 2]"\ng,,"[1, two]"\nh,,"[1,"\n'
    report = ingest(log, items=write("i.csv", text), now=NOW).items
    assert report is not None
    assert report.rejected == {"vector_x has another length than 2": 1, "vector_x is no list of numbers": 2}
    assert catalogue(log).filter(pa.compute.field("item_id") == "f").to_pylist()[0]["tags"] == ["p"]


def test_a_modality_needs_a_plain_name(log: EventLog, write: Write) -> None:
    with pytest.raises(InvalidInput, match="column `vector_it's` of items file"):
        ingest(log, items=write("i.parquet", [{"item_id": "a", "vector_it's": [1.0]}]), now=NOW)


def test_the_report_is_plain_json(log: EventLog, write: Write) -> None:
    path = write("u.csv", "user_id\nu1\n\nu2\n")
    report = json.loads(json.dumps(ingest(log, users=path, now=NOW).to_json()))
    assert report == {
        "users": {
            "file": str(path),
            "read": 2,
            "accepted": 2,
            "duplicates": 0,
            "rejected": {},
            "rejects": None,
            "added": 2,
            "changed": 0,
            "unchanged": 0,
            "clamped": 0,
        }
    }
