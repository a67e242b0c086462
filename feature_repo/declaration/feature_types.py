"""Feast's types of raw features, and Arrow's for them."""

import pyarrow as pa
from feast import types
from feast.types import Array, FeastType, String, UnixTimestamp

from portrait.feature_repo.schemas import COLUMN_TYPES
from portrait.registry.errors import InvalidInput

SCALARS: dict[FeastType, pa.DataType] = {getattr(types, one.feast): one.arrow for one in COLUMN_TYPES}


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
