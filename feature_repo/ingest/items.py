"""Items files: columns `item_id`, `service`, `text`, `tags`, `vector_<modality>`, and the SQL that judges them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from portrait.feature_repo.ingest.cells import (
    full_list,
    is_not_list,
    list_cell,
    list_fault,
    text_cell,
    text_fault,
)
from portrait.feature_repo.ingest.event_files import DEFAULT_SERVICE
from portrait.feature_repo.ingest.keyed_rows import KeyedTable
from portrait.feature_repo.ingest.record_fields import TEXT_BYTES
from portrait.feature_repo.ingest.source import Source, require_known_case
from portrait.feature_repo.log.committed import rows_of, schema_of
from portrait.feature_repo.log.duck import Duck, name, scalar
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, Segment, SegmentKind
from portrait.feature_repo.schemas import ARROW
from portrait.registry.errors import InvalidInput

ITEMS_NEEDED = ("item_id",)
ITEMS_KEYS = ("service", "item_id")
FIXED = {"service": "VARCHAR", "item_id": "VARCHAR", "text": "VARCHAR", "tags": "VARCHAR[]"}
VECTOR = "vector_"


def vector_columns(home: Path, segments: Sequence[Segment]) -> list[str]:
    """The names of the `vector_<modality>` columns of the committed items, sorted."""
    names = {column for segment in segments for column in schema_of(home / segment.path).names}
    return sorted(column for column in names if column.startswith(VECTOR))


def items_columns(vectors: Sequence[str]) -> dict[str, str]:
    """DuckDB types of the catalogue's columns."""
    return FIXED | dict.fromkeys(vectors, "FLOAT[]")


def items_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Arrow schema of the catalogue's columns."""
    return pa.schema([(column, ARROW[kind]) for column, kind in columns.items()])


def items_table(source: Source, known: Sequence[str]) -> KeyedTable:
    """Layout of the catalogue after this file; other columns of the file are left out.

    Raises InvalidInput for a vector column with an unfit name.
    """
    arriving = [column for column in source.columns if column.startswith(VECTOR)]
    for column in arriving:
        if not re.fullmatch(r"\w+", column, re.ASCII):
            raise InvalidInput(f"column `{column}` of {source.shown} needs a name of letters, digits and underscores")
    require_known_case(source, arriving, known)
    columns = items_columns(sorted({*known, *arriving}))
    present = frozenset(column for column in source.columns if column in columns)
    return KeyedTable(SegmentKind.ITEMS, ITEMS_KEYS, columns, present | {"service"})


def canonical_items(source: Source, table: KeyedTable, lengths: Mapping[str, int]) -> str:
    """A SELECT of `row, bucket`, the table's columns and `reason`; `lengths` are those of the vectors, by column."""
    vectors = [column for column in table.columns if column.startswith(VECTOR)]
    vector_cells = (
        (f"{list_cell(source, c, 'FLOAT')} AS {name(c)}", f"{is_not_list(source, c, 'FLOAT')} AS {name('no_' + c)}")
        for c in vectors
    )
    cells = "".join(f", {vector}, {unread}" for vector, unread in vector_cells)
    names = ", ".join(map(name, table.columns))
    return f"""
        SELECT row, {ITEMS_BUCKET} AS bucket, {names}, CASE
            WHEN text_fault IS NOT NULL THEN text_fault
            WHEN item_id IS NULL THEN 'item_id is null or empty'
            WHEN no_tags THEN 'tags is no list'
            {_vector_reasons(vectors, lengths)} END AS reason
        FROM (
            SELECT row, coalesce({text_cell(source, "service")}, '{DEFAULT_SERVICE}') AS service,
                   {text_cell(source, "item_id")} AS item_id, {text_cell(source, "text")} AS text,
                   {full_list(list_cell(source, "tags", "VARCHAR"))} AS tags,
                   {is_not_list(source, "tags", "VARCHAR")} AS no_tags,
                   coalesce({text_fault(source, "item_id")}, {text_fault(source, "service")},
                       {text_fault(source, "text", TEXT_BYTES)}, {list_fault(source, "tags")}) AS text_fault{cells}
            FROM {source.rows})"""


def vector_lengths(
    duck: Duck, home: Path, segments: Sequence[Segment], source: Source, table: KeyedTable
) -> dict[str, int]:
    """Length of each vector column: that of the catalogue, or else of the file's first vector."""
    lengths = {}
    for column in (c for c in table.columns if c.startswith(VECTOR)):
        known = rows_of(home, segments, {column: "FLOAT[]"}, positions=False)
        length = scalar(duck, f"SELECT max(len({name(column)})) FROM {known}")
        if not length and column in source.columns:
            cell = list_cell(source, column, "FLOAT")
            length = scalar(duck, f"SELECT len({cell}) FROM {source.rows} WHERE len({cell}) > 0 LIMIT 1")
        lengths[column] = length
    return lengths


def _vector_reasons(vectors: Sequence[str], lengths: Mapping[str, int]) -> str:
    reasons = []
    for column in vectors:
        cell, length = name(column), lengths[column]
        unread = f"{name('no_' + column)} OR len(list_filter({cell}, lambda x: x IS NULL)) > 0"
        reasons += [
            f"WHEN {unread} THEN '{column} is no list of numbers'",
            f"WHEN len(list_filter({cell}, lambda x: NOT isfinite(x))) > 0 THEN '{column} is not finite'",
            f"WHEN len({cell}) <> {length} THEN '{column} has another length than {length}'",
        ]
    return "\n".join(reasons)
