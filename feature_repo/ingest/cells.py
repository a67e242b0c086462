"""SQL for one cell of a caller's file: to text, time, number or list; null when the cell cannot be read as that."""

from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.ingest.time_text import parse_time_sql, timestamp_sql
from portrait.registry.errors import InvalidInput

EARLIEST = "TIMESTAMPTZ '1900-01-01 00:00:00+00'"
LARGEST_FLOAT32 = "3.4028235677973366e38"  # from here on a double rounds to infinity
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FRACTIONAL = ("FLOAT", "DOUBLE", "DECIMAL")
TIMES = ("TIMESTAMP", "DATE")  # TIMESTAMP WITH TIME ZONE, TIMESTAMP_NS and so on begin like this


def text_cell(source: Source, column: str) -> str:
    """An id or another short text; null when absent, null or blank. Whole numbers are taken as text."""
    if column not in source.columns:
        return "NULL::VARCHAR"
    kind = source.columns[column]
    if kind not in ("VARCHAR", "UUID", "BOOLEAN", *WHOLE) and not kind.startswith("ENUM"):
        raise _unfit(source, column, "text")
    cell = f"{source.cell(column)}::VARCHAR"
    return f"CASE WHEN trim({cell}, E' \\t\\r\\n') <> '' THEN {cell} END"


def time_cell(source: Source, column: str) -> str:
    """A UTC time stamp; null when absent, null or unreadable. Without a zone it is taken as UTC."""
    if column not in source.columns:
        return "NULL::TIMESTAMPTZ"
    kind = source.columns[column]
    if kind != "VARCHAR" and not kind.startswith(TIMES):
        raise _unfit(source, column, "a timestamp")
    cell = source.cell(column)
    return parse_time_sql(cell) if kind == "VARCHAR" else timestamp_sql(cell)


def number_cell(source: Source, column: str) -> str:
    """A double; null when absent, null or unreadable."""
    if column not in source.columns:
        return "NULL::DOUBLE"
    kind = source.columns[column]
    if kind not in ("VARCHAR", "BOOLEAN", *WHOLE) and not kind.startswith(FRACTIONAL):
        raise _unfit(source, column, "a number")
    cell = f"trim({source.cell(column)})" if kind == "VARCHAR" else source.cell(column)
    return f"TRY_CAST({cell} AS DOUBLE)"


def list_cell(source: Source, column: str, item: str) -> str:
    """A list of `item` (VARCHAR or FLOAT); null when absent, null or unreadable.

    In a text column a list is a JSON array, or its parts are separated by `|`.
    """
    if column not in source.columns:
        return f"NULL::{item}[]"
    kind, cell = source.columns[column], source.cell(column)
    if kind == "VARCHAR":
        json = f"TRY_CAST(TRY_CAST({cell} AS JSON) AS {item}[])"
        parts = f"TRY_CAST(string_split({cell}, '|') AS {item}[])"
        return f"CASE WHEN starts_with(ltrim({cell}), '[') THEN {json} ELSE {parts} END"
    if not kind.endswith("]"):
        raise _unfit(source, column, "a list")
    return f"TRY_CAST({cell} AS {item}[])"


def full_list(cell: str) -> str:
    """A list of text without nulls and blanks; null when nothing is left."""
    kept = f"list_filter({cell}, lambda x: trim(x) <> '')"
    return f"CASE WHEN len({kept}) > 0 THEN {kept} END"


def is_not_list(source: Source, column: str, item: str) -> str:
    """Whether the file has a value in this cell that is no list of `item`."""
    return f"({is_given(source, column)} AND {list_cell(source, column, item)} IS NULL)"


def is_given(source: Source, column: str) -> str:
    """Whether the file has a value in this cell."""
    if column not in source.columns:
        return "false"
    cell = source.cell(column)
    if source.columns[column] == "VARCHAR":
        return f"coalesce(trim({cell}, E' \\t\\r\\n') <> '', false)"
    return f"{cell} IS NOT NULL"


def _unfit(source: Source, column: str, wanted: str) -> InvalidInput:
    return InvalidInput(
        f"column `{column}` of {source.what} file {source.path} is {source.columns[column]}; it must be {wanted}"
    )
