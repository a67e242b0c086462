"""Feature types: the mapping between Arrow types and Feast types."""

import pyarrow as pa
from feast.types import Array, Bool, FeastType, Float32, Float64, Int32, Int64, String, UnixTimestamp

from portrait.feature_repo.schemas import TIME
from portrait.registry.errors import InvalidInput

SCALARS: dict[FeastType, pa.DataType] = {
    String: pa.string(),
    Bool: pa.bool_(),
    Int32: pa.int32(),
    Int64: pa.int64(),
    Float32: pa.float32(),
    Float64: pa.float64(),
    UnixTimestamp: TIME,  # whole seconds in the online stores: Feast's message has no finer unit
}


def arrow_type(dtype: FeastType) -> pa.DataType:
    """The Arrow type of a feature. Raises InvalidInput for types that raw features cannot have."""
    if isinstance(dtype, Array) and dtype.base_type in SCALARS:
        return pa.list_(SCALARS[dtype.base_type])
    if dtype in SCALARS:
        return SCALARS[dtype]
    raise InvalidInput(f"a feature of type {dtype} cannot be used here: use {', '.join(map(str, SCALARS))} or arrays")


def feast_type(kind: pa.DataType) -> FeastType:
    """The Feast type of a column. Raises InvalidInput for types that raw features cannot have."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return Array(feast_type(kind.value_type))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return UnixTimestamp
    for dtype, known in SCALARS.items():
        if kind == known or (pa.types.is_large_string(kind) and dtype == String):
            return dtype
    raise InvalidInput(f"a column of type {kind} cannot become a feature: use text, numbers, booleans or times")
