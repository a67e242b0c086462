"""Column layouts that cross module borders. All times are UTC with microseconds."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")

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
