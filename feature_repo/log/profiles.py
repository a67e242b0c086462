"""Profile columns of the committed users files, with their types in DuckDB and Arrow."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from portrait.feature_repo.log.committed import filled_schema_of
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, Segment, SegmentKind
from portrait.feature_repo.schemas import ARROW, ORDER, PROFILE_FIXED, duck_type


def common_type(first: str, second: str) -> str:
    """The type that holds the values of both (DuckDB types): text when they have nothing in common.

    Ingest lets a column only become DOUBLE from BIGINT; homes from before it, and ingests at the same time, have more.
    """
    if first == second:
        return first
    return "DOUBLE" if {first, second} == {"BIGINT", "DOUBLE"} else "VARCHAR"


WANTED = {
    "BOOLEAN": "true or false",
    "BIGINT": "a whole number of 64 bits",
    "DOUBLE": "a number",
    "TIMESTAMPTZ": "a time",
    "VARCHAR": "text",
}
"""The types of further columns (DuckDB's), in words."""

USERS_KEYS = ("user_id",)
_ORDER = {column for column, _ in ORDER}
_FIXED = [field for field in PROFILE_FIXED if field.name not in _ORDER]
STORED_FIXED = {field.name: duck_type(field.type) for field in _FIXED}


def profile_schema(log: EventLog) -> pa.Schema:
    """PROFILE_FIXED and the further columns of all committed users files, sorted by name.

    A column that came as int64 and float64 is float64; one that came in types with nothing in common is text.
    """
    return log.read(partial(profile_schema_at, log.home))


def profile_schema_at(home: Path, manifest: Manifest) -> pa.Schema:
    """`profile_schema` as of a manifest."""
    further = further_columns(home, manifest.segments_of(SegmentKind.USERS))
    return pa.schema([*PROFILE_FIXED, *((column, ARROW[kind]) for column, kind in further.items())])


def further_columns(home: Path, segments: Sequence[Segment]) -> dict[str, str]:
    """DuckDB types of the further columns of users segments, sorted by name; a column without a value is text."""
    return {column: kind or "VARCHAR" for column, kind in settled_columns(home, segments).items()}


def settled_columns(home: Path, segments: Sequence[Segment]) -> dict[str, str | None]:
    """`further_columns`, with None for a column without any value: the first one settles its type."""
    types: dict[str, str | None] = {}
    for schema in {filled_schema_of(home / segment.path) for segment in segments}:
        for field in schema:
            if field.name not in STORED_FIXED and field.name != "position":
                known = types.setdefault(field.name, None)
                if not pa.types.is_null(field.type):
                    kind = duck_type(field.type)
                    types[field.name] = common_type(known or kind, kind)
    return dict(sorted(types.items()))


def stored_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Schema of a users segment with these DuckDB columns: the profile's without its order columns."""
    return pa.schema([*_FIXED, *((c, ARROW[kind]) for c, kind in columns.items() if c not in STORED_FIXED)])


def stored_types(schema: pa.Schema) -> dict[str, str]:
    """DuckDB types of a profile schema's columns, without its order columns."""
    further = {f.name: duck_type(f.type) for f in schema if f.name not in STORED_FIXED and f.name not in _ORDER}
    return STORED_FIXED | further
