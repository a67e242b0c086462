"""Column types, and layouts that cross module borders. All times are UTC with microseconds."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")


class ColumnType(NamedTuple):
    """A type of values in the words of all who keep columns of them."""

    arrow: pa.DataType
    duck: str  # DuckDB's
    feast: str  # of `feast.types`
    message: str  # the start of the names that Feast's message has for it


COLUMN_TYPES = (
    ColumnType(pa.string(), "VARCHAR", "String", "string"),
    ColumnType(pa.bool_(), "BOOLEAN", "Bool", "bool"),
    ColumnType(pa.int32(), "INTEGER", "Int32", "int32"),
    ColumnType(pa.int64(), "BIGINT", "Int64", "int64"),
    ColumnType(pa.float32(), "FLOAT", "Float32", "float"),
    ColumnType(pa.float64(), "DOUBLE", "Float64", "double"),
    ColumnType(TIME, "TIMESTAMPTZ", "UnixTimestamp", "unix_timestamp"),  # whole seconds online: Feast's finest unit
)
ARROW = {one.duck: one.arrow for one in COLUMN_TYPES} | {f"{one.duck}[]": pa.list_(one.arrow) for one in COLUMN_TYPES}
"""Arrow's type for each of DuckDB's words, for lists too."""

_DUCK = {arrow: duck for duck, arrow in ARROW.items()}


def duck_type(arrow: pa.DataType) -> str:
    """DuckDB's word for one of our types."""
    return _DUCK[arrow]


def plain_times(table: pa.Table) -> pa.Table:
    """The table with times as microseconds since 1970."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(TIME).cast(pa.int64()))
    return table


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    return (time - EPOCH) // timedelta(microseconds=1)


def from_microseconds(time: int) -> datetime:
    """The UTC datetime of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=time)


EVENTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("event_time", TIME),
        ("service", pa.string()),
        ("action", pa.string()),
        ("weight", pa.float32()),
        ("event_id", pa.string()),
    ]
)
"""A row of the event log; its position is the segment's first position plus its row number."""

EVENT_TYPES = {field.name: duck_type(field.type) for field in EVENTS}
"""DuckDB's words for its columns."""

ORDER = [("position", pa.int64()), ("as_of", TIME), ("computed_at", TIME)]
"""A write to the online store wins only with a greater (position, as_of); computed_at is the wall clock."""

HISTORY = pa.schema(
    [
        ("user_id", pa.string()),
        ("services", pa.list_(pa.string())),
        ("item_ids", pa.list_(pa.string())),
        ("actions", pa.list_(pa.string())),
        ("weights", pa.list_(pa.float32())),
        ("event_times", pa.list_(pa.int64())),  # microseconds since 1970, UTC
        ("event_ids", pa.list_(pa.string())),
        *ORDER,
    ]
)
"""A user's last N events per service, sorted by (event_time, event_id) over all services, newest last."""

PROFILE_FIXED = pa.schema(
    [("user_id", pa.string()), ("created_time", TIME), ("onboarding_items", pa.list_(pa.string())), *ORDER]
)
"""Columns that every profile row has; the further scalar columns of the ingested users tables follow them."""


def embeddings(dimension: int) -> pa.Schema:
    """Schema of the vectors stored offline in `embeddings/<version>/`: vectors are float32 of `dimension` numbers."""
    return pa.schema([("user_id", pa.string()), ("vector", pa.list_(pa.float32(), dimension)), *ORDER])
