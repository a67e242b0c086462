"""Stored values: what other writers than ours have put there is read too, or counts as none."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from portrait.feature_repo.online.values import decode_column, encode_column
from portrait.feature_repo.schemas import TIME


def test_times_are_those_that_were_stored() -> None:
    times = pa.chunked_array([pa.array([0, 1_700_000_000_000_000, -1_000_000, None], TIME)])
    assert decode_column(encode_column(times), TIME).to_pylist() == times.to_pylist()


def test_feasts_null_of_a_time_is_null() -> None:
    """For a missing time in a column of times Feast writes a number that is no time."""
    times = np.array(["2024-01-01", "NaT"], dtype="datetime64[us]")
    stored = [value.SerializeToString() for value in python_values_to_proto_values(times, ValueType.UNIX_TIMESTAMP)]
    assert decode_column(stored, TIME).to_pylist() == [datetime(2024, 1, 1, tzinfo=UTC), None]


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), 9_300_000_000_000, -9_300_000_000_000])
def test_a_time_that_no_column_can_hold_is_null(seconds: int) -> None:
    stored = Value(unix_timestamp_val=seconds).SerializeToString()
    assert decode_column([stored], TIME).to_pylist() == [None]
