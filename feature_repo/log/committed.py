"""Committed segments as DuckDB relations, every row with its position."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.log.duck import name, plain_path, texts
from portrait.feature_repo.log.manifest import Segment, SegmentKind
from portrait.feature_repo.schemas import EVENTS


@lru_cache(maxsize=100_000)
def schema_of(path: Path) -> pa.Schema:
    """Columns of a segment file; segments never change, so the answer is kept."""
    return pq.read_schema(path)


@lru_cache(maxsize=100_000)
def filled_schema_of(path: Path) -> pa.Schema:
    """`schema_of` with the type null for each scalar column that holds nothing but nulls."""
    file, schema = pq.read_metadata(path), schema_of(path)
    places = {file.schema.column(place).path: place for place in range(file.num_columns)}
    for place, field in enumerate(schema):
        chunks = (file.row_group(group).column(places[field.name]) for group in range(file.num_row_groups))
        if field.name in places and all(map(_is_empty, chunks)):
            schema = schema.set(place, pa.field(field.name, pa.null()))
    return schema


def _is_empty(chunk: pq.ColumnChunkMetaData) -> bool:
    counted = chunk.is_stats_set and chunk.statistics.has_null_count
    return bool(counted and chunk.statistics.null_count == chunk.num_values)


def rows_of(home: Path, segments: Sequence[Segment], columns: Mapping[str, str], positions: bool = True) -> str:
    """A SELECT of `columns` (name -> DuckDB type) over all rows of the segments, and of their `position`.

    A column that a segment does not have is null there; one that it has in another type is cast.
    """
    if not segments:
        nothing = [f"NULL::{kind} AS {name(column)}" for column, kind in columns.items()]
        return f"(SELECT {', '.join([*nothing, 'NULL::BIGINT AS position'])} WHERE false)"
    parts = (
        _positioned_rows(home, alike, _casts(columns, present))
        if positions
        else f"SELECT {_casts(columns, present)} FROM read_parquet({_paths(home, alike)}, hive_partitioning = false)"
        for present, alike in _group_by_columns(home, segments)
    )
    return "(" + " UNION ALL ".join(parts) + ")"


def dated_rows_of(home: Path, segments: Sequence[Segment], columns: Mapping[str, str]) -> str:
    """`rows_of` with `committed_at` too: the time at which readers could first see each row."""
    if not segments:
        return f"(SELECT *, NULL::TIMESTAMPTZ AS committed_at FROM {rows_of(home, segments, columns)})"
    parts = (
        f"SELECT {_casts(columns, present)}, position, committed_at FROM {_dated_rows(home, alike)}"
        for present, alike in _group_by_columns(home, segments)
    )
    return "(" + " UNION ALL ".join(parts) + ")"


def _casts(columns: Mapping[str, str], present: frozenset[str]) -> str:
    return ", ".join(
        f"{name(column) if column in present else 'NULL'}::{kind} AS {name(column)}" for column, kind in columns.items()
    )


def _paths(home: Path, segments: Iterable[Segment]) -> str:
    return texts(plain_path(home / segment.path) for segment in segments)


def _positioned_rows(home: Path, segments: Sequence[Segment], selected: str) -> str:
    if all(segment.positioned for segment in segments):
        return f"SELECT {selected}, position FROM read_parquet({_paths(home, segments)}, hive_partitioning = false)"
    # Joined by file name: with DuckDB's `file_index` a "newest row of each key" query fails inside DuckDB 1.5.
    return f"SELECT {selected}, first_position + file_row_number AS position FROM {_numbered_rows(home, segments)}"


def _numbered_rows(home: Path, segments: Sequence[Segment]) -> str:
    """Rows with their number in the file, and with the file's first position and time of commit."""
    paths = _paths(home, segments)
    names = texts(str(home / segment.path) for segment in segments)
    firsts = ", ".join(str(segment.first_position) for segment in segments)
    times = texts("" if s.committed_at is None else s.committed_at.isoformat(sep=" ") for s in segments)
    return (
        f"read_parquet({paths}, hive_partitioning = false, file_row_number = true, filename = true) "
        f"JOIN (SELECT unnest({names}) AS filename, unnest([{firsts}]::BIGINT[]) AS first_position, "
        f"unnest({times}) AS committed) USING (filename)"
    )


def _dated_rows(home: Path, segments: Sequence[Segment]) -> str:
    own = "*" if segments[0].positioned else "*, first_position + file_row_number AS position"
    return f"(SELECT {own}, TRY_CAST(committed AS TIMESTAMPTZ) AS committed_at FROM {_numbered_rows(home, segments)})"


def _group_by_columns(home: Path, segments: Iterable[Segment]) -> list[tuple[frozenset[str], list[Segment]]]:
    # DuckDB reads a list of files with the first one's schema: files with other columns or types go apart.
    alike: dict[tuple[tuple[str, str], ...], list[Segment]] = defaultdict(list)
    for segment in segments:
        known = (
            segment.kind == SegmentKind.EVENTS and not segment.positioned
        )  # most of the files: none of them is opened
        schema = EVENTS if known else schema_of(home / segment.path)
        alike[tuple((field.name, str(field.type)) for field in schema)].append(segment)
    return [(frozenset(column for column, _ in fields), group) for fields, group in alike.items()]
