"""Stored values of Arrow columns, encoded and decoded; for histories and profiles, not for vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from feast.protos.feast.types import Value_pb2
from feast.protos.feast.types.Value_pb2 import Value

from portrait.feature_repo.online.former_values import as_type, former_value
from portrait.feature_repo.schemas import COLUMN_TYPES, TIME
from portrait.registry.errors import InvalidInput

SCALARS = {one.arrow: one.message for one in COLUMN_TYPES if one.arrow != TIME}  # times have units of their own
SECOND = 1_000_000  # microseconds; Feast's time stamps are whole seconds
LAST_SECOND = 2**63 // SECOND - 1  # and Arrow's microseconds end there; Feast's null is a number beyond


def encode_column(column: pa.ChunkedArray) -> list[bytes]:
    """The stored value of each row; null becomes Feast's null, an empty message."""
    encode = _encoder(column.type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    return [b"" if value is None else encode(value) for value in column.to_pylist()]


def decode_column(values: Sequence[bytes], kind: pa.DataType) -> pa.Array:
    """A column of stored values; an empty one is null.

    Values from before the column got its type become what the log makes of them. One that the type cannot hold comes
    from after it, when a view has just got another: whole numbers are then a column of float64, and text is null.
    """
    decode = _decoder(kind)
    found = [decode(Value.FromString(value)) if value else None for value in values]
    others = [place for place, value in enumerate(values) if value and found[place] is None]
    if others:
        former = [former_value(Value.FromString(values[place])) for place in others]
        if pa.types.is_integer(kind) and any(isinstance(v, float) and not v.is_integer() for v in former):
            kind, found = pa.float64(), [as_type(value, pa.float64()) for value in found]
        for place, value in zip(others, former, strict=True):
            found[place] = as_type(value, kind)
    return pa.array(found, type=kind)


def _encoder(kind: pa.DataType) -> Callable[[Any], bytes]:
    if pa.types.is_timestamp(kind):
        return lambda time: Value(unix_timestamp_val=time // SECOND).SerializeToString()
    if pa.types.is_list(kind):
        name = _name(kind.value_type)
        field, message = f"{name}_list_val", getattr(Value_pb2, f"{name.capitalize()}List")
        return lambda items: Value(**{field: message(val=items)}).SerializeToString()
    field = f"{_name(kind)}_val"
    return lambda value: Value(**{field: value}).SerializeToString()


def _decoder(kind: pa.DataType) -> Callable[[Value], Any]:
    if pa.types.is_timestamp(kind):
        return _time
    if pa.types.is_list(kind):
        items = _field_decoder(f"{_name(kind.value_type)}_list_val")
        return lambda value: None if (found := items(value)) is None else list(found.val)
    return _field_decoder(f"{_name(kind)}_val")


def _field_decoder(field: str) -> Callable[[Value], Any]:
    return lambda value: getattr(value, field) if value.WhichOneof("val") == field else None


def _time(value: Value) -> int | None:
    seconds: int = value.unix_timestamp_val
    return seconds * SECOND if value.WhichOneof("val") == "unix_timestamp_val" and abs(seconds) <= LAST_SECOND else None


def _name(kind: pa.DataType) -> str:
    if kind not in SCALARS:
        raise InvalidInput(f"a value of type {kind} cannot be kept in the online store")
    return SCALARS[kind]
