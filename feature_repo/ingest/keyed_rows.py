"""Keyed rows of users and items: one current row a key, and a new row only where something changed.

A column that a file does not have keeps its value; a cell that the file leaves empty becomes null.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.duck import Duck, name
from portrait.feature_repo.log.manifest import Segment, SegmentKind
from portrait.feature_repo.log.segments import BATCH_ROWS, write_segments


@dataclass(frozen=True)
class KeyedTable:
    """Layout of a users or items table: DuckDB types by column, keys first."""

    kind: SegmentKind
    keys: tuple[str, ...]
    columns: dict[str, str]
    present: frozenset[str]  # columns that the arriving file has

    @property
    def staged(self) -> str:
        """The table (row, bucket, columns, reason) of the arriving rows."""
        return f"staged_{self.kind}"

    @property
    def judged(self) -> str:
        """The table (row, bucket, columns, verdict) that `judge` makes."""
        return f"judged_{self.kind}"

    @property
    def repeated(self) -> str:
        """The reason for which a later row of a key is rejected."""
        return f"{' and '.join(self.keys)} occurs again with other fields"


def current_rows(home: Path, segments: Sequence[Segment], columns: dict[str, str], keys: Sequence[str]) -> str:
    """The newest row of every key, with its `position`."""
    return (
        f"(FROM {rows_of(home, segments, columns)} "
        f"QUALIFY row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY position DESC) = 1)"
    )


def judge(duck: Duck, home: Path, table: KeyedTable, segments: Sequence[Segment]) -> dict[str, int]:
    """Fill the table `judged`; returns the rows by verdict: added, changed, unchanged, duplicate, rejected."""
    keys = ", ".join(table.keys)
    columns = list(table.columns)
    merged = ", ".join(f"{'arriving' if c in table.present else 'kept'}.{name(c)} AS {name(c)}" for c in columns)
    duck.execute(f"""
        CREATE OR REPLACE TABLE {table.judged} AS
        WITH arriving AS (
            SELECT *, row_number() OVER same_key AS rank,
                   {_record(columns)} IS NOT DISTINCT FROM first_value({_record(columns)}) OVER same_key AS alike
            FROM {table.staged} WHERE reason IS NULL WINDOW same_key AS (PARTITION BY {keys} ORDER BY row)),
        kept AS (FROM {current_rows(home, segments, table.columns, table.keys)})
        SELECT arriving.row, arriving.bucket, {merged}, CASE
            WHEN rank > 1 THEN CASE WHEN alike THEN 'duplicate' ELSE 'rejected' END
            WHEN kept.position IS NULL THEN 'added'
            WHEN {_record(columns, "kept")} IS NOT DISTINCT FROM {_merged_record(table)} THEN 'unchanged'
            ELSE 'changed' END AS verdict
        FROM arriving LEFT JOIN kept USING ({keys})""")
    return dict(duck.execute(f"SELECT verdict, count(*) FROM {table.judged} GROUP BY ALL").fetchall())


def write_changed(duck: Duck, home: Path, ingest: str, table: KeyedTable, schema: pa.Schema) -> list[Segment]:
    """Write the added and the changed rows as segments."""
    columns = ", ".join(map(name, schema.names))
    reader = duck.execute(
        f"SELECT bucket, {columns} FROM {table.judged} WHERE verdict IN ('added', 'changed') "
        f"ORDER BY bucket, {', '.join(table.keys)}"
    ).to_arrow_reader(BATCH_ROWS)
    return write_segments(home, table.kind, ingest, schema, reader)


def _record(columns: Sequence[str], relation: str = "") -> str:
    prefix = f"{relation}." if relation else ""
    return "{" + ", ".join(f"'c{i}': {prefix}{name(column)}" for i, column in enumerate(columns)) + "}"


def _merged_record(table: KeyedTable) -> str:
    cells = (
        f"'c{i}': {'arriving' if column in table.present else 'kept'}.{name(column)}"
        for i, column in enumerate(table.columns)
    )
    return "{" + ", ".join(cells) + "}"
