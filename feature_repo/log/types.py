"""The types that a further profile column may have, in DuckDB's words and in Arrow's."""

import pyarrow as pa

from portrait.feature_repo.schemas import TIME

ARROW = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMPTZ": TIME,
}
_DUCK = {arrow: duck for duck, arrow in ARROW.items()}


def duck_type(arrow: pa.DataType) -> str:
    """DuckDB's word for one of our Arrow types."""
    return _DUCK[arrow]


def unified(first: str, second: str) -> str:
    """The type that holds the values of both: text when they have nothing in common."""
    if first == second:
        return first
    return "DOUBLE" if {first, second} == {"BIGINT", "DOUBLE"} else "VARCHAR"
