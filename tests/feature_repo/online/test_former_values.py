"""Values that were stored before their column got its type are online what they are in a snapshot."""

import math
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait.feature_repo.history.live_fold import fold_rows
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.online.values import decode_column, encode_column
from portrait.feature_repo.schemas import TIME, duck_type
from portrait.feature_repo.store.feature_repo import FeatureRepo
from tests.feature_repo.conftest import Write
from tests.feature_repo.instance import NOW


def read_as(values: list[Any], was: pa.DataType, kind: pa.DataType) -> pa.Array:
    return decode_column(encode_column(pa.chunked_array([pa.array(values, was)])), kind)


def cast(values: list[Any], was: pa.DataType, kind: pa.DataType) -> list[Any]:
    """What DuckDB makes of the column, as the log's readers ask for it."""
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        duck.register("stored", pa.table({"row": range(len(values)), "v": pa.array(values, was)}))
        query = f"SELECT v::{duck_type(kind)} AS v FROM stored ORDER BY row"
        found: list[Any] = duck.execute(query).to_arrow_table()["v"].to_pylist()
        return found


@settings(deadline=None, max_examples=25)
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_as_numbers_and_as_text(values: list[int | None]) -> None:
    for kind in (pa.float64(), pa.string()):
        assert read_as(values, pa.int64(), kind).to_pylist() == cast(values, pa.int64(), kind)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_as_text(values: list[float | None]) -> None:
    assert read_as(values, pa.float64(), pa.string()).to_pylist() == cast(values, pa.float64(), pa.string())


def test_booleans_and_times_as_text() -> None:
    times = [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), None, datetime(800, 1, 1, tzinfo=UTC)]
    assert read_as(times, TIME, pa.string()).to_pylist() == cast(times, TIME, pa.string())
    assert read_as([True, None, False], pa.bool_(), pa.string()).to_pylist() == ["true", None, "false"]


@pytest.mark.parametrize(
    ("values", "was", "kind", "expected"),
    [
        ([1, None], pa.int32(), pa.int64(), [1, None]),
        ([1, 2**40], pa.int64(), pa.int32(), [1, None]),
        ([0.5], pa.float32(), pa.float64(), [0.5]),
        ([2.0, 1e300], pa.float64(), pa.int64(), [2, None]),
        (["5", "x", None], pa.string(), pa.int64(), [5, None, None]),
        (["5", "x"], pa.string(), pa.float64(), [5.0, None]),
        ([True], pa.bool_(), pa.float64(), [None]),
        ([[1, 2]], pa.list_(pa.int64()), pa.list_(pa.float32()), [[1.0, 2.0]]),
        ([[0.5, 2.0]], pa.list_(pa.float64()), pa.list_(pa.float32()), [[0.5, 2.0]]),
        ([1.0], pa.float64(), pa.list_(pa.float32()), [None]),
    ],
)
def test_other_types(values: list[Any], was: pa.DataType, kind: pa.DataType, expected: list[Any]) -> None:
    column = read_as(values, was, kind)
    assert (column.type, column.to_pylist()) == (kind, expected)


def test_a_reader_who_does_not_know_the_new_type_yet_loses_nothing() -> None:
    column = decode_column(
        [*encode_column(pa.chunked_array([[1.5]])), *encode_column(pa.chunked_array([[3]])), b""], pa.int64()
    )
    assert (column.type, column.to_pylist()) == (pa.float64(), [1.5, 3.0, None])


def test_a_widened_profile_is_online_what_it_is_in_the_snapshot(repo: FeatureRepo, write: Write) -> None:
    first = [{"user_id": "u1", "age": 31, "plan": "a"}, {"user_id": "u2", "age": 2**53 + 1, "plan": "b"}]
    ingest(repo.log, users=write("a.parquet", first), now=NOW)
    repo.apply()
    repo.publish()
    before = repo.read_inputs(["u1"])
    ingest(repo.log, users=write("b.parquet", [{"user_id": "u3", "age": 1.5}]), now=NOW)
    repo.publish()
    stale = repo.read_inputs(["u1", "u2", "u3"])  # columns are those of before, for some seconds
    repo.apply()
    online = repo.read_inputs(["u1", "u2", "u3"])
    snapshot = cut_snapshot(repo.log, NOW)
    rows = (row for bucket in snapshot.buckets for row in snapshot.read(bucket).to_pylist())
    ages = {row["user_id"]: row["age"] for row in rows}
    assert before["age"].to_pylist() == [31]
    assert ages == {"u1": 31.0, "u2": float(2**53), "u3": 1.5}
    for table in (stale, online):
        assert table["age"].type == pa.float64()
        assert dict(zip(table["user_id"].to_pylist(), table["age"].to_pylist(), strict=True)) == ages
    folded = fold_rows(stale, [], ["age", "plan"], 4, 0).table
    assert folded["age"].to_pylist() == stale["age"].to_pylist()
    assert not any(math.isnan(age) for age in folded["age"].to_pylist())
