"""Stored values of another type than their column has now, as the log's casts of the same values would give them."""

from datetime import datetime
from typing import Any

import pyarrow as pa
from feast.protos.feast.types.Value_pb2 import Value

from portrait.feature_repo.schemas import from_microseconds

SECOND = 1_000_000


def former_value(value: Value) -> Any:
    """The Python value of a stored one, whatever its type; None for Feast's null."""
    field = value.WhichOneof("val")
    if field is None:
        return None
    found = getattr(value, field)
    if field == "unix_timestamp_val":
        try:
            return from_microseconds(found * SECOND)
        except OverflowError:  # Feast's null of a time
            return None
    return list(found.val) if field.endswith("_list_val") else found


def as_type(value: Any, kind: pa.DataType) -> Any:
    """The value in an Arrow type, as Python; None where the type cannot hold it."""
    if pa.types.is_list(kind):
        items = [as_type(item, kind.value_type) for item in value] if isinstance(value, list) else [None]
        return None if None in items else items
    if pa.types.is_string(kind):
        return _as_text(value)
    if isinstance(value, bool | datetime | list | bytes) or value is None:
        return None
    try:
        number: int | float = float(value) if pa.types.is_floating(kind) else _as_integer(value)
        return pa.scalar(number, kind).as_py()
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        return None


def _as_integer(value: int | float | str) -> int:
    """The whole number; raises ValueError where there is none."""
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _as_text(value: Any) -> str | None:
    """The value as DuckDB casts it to text: numbers as Python writes them, booleans in small letters, times in UTC."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"{value.isoformat(sep=' ')[:19]}+00"
    return str(value) if isinstance(value, int | float | str) else None
