"""SQL for one cell of a caller's file: to text, time, number or list; null when the cell cannot be read as that."""

from collections.abc import Collection

from portrait.feature_repo.ingest.record_fields import ID_BYTES
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.duck import Duck, scalar
from portrait.feature_repo.log.time_text import parse_time_sql, timestamp_sql
from portrait.registry.errors import InvalidInput

EARLIEST = "TIMESTAMPTZ '1900-01-01 00:00:00+00'"
IDS = ("user_id", "item_id", "service", "action", "event_id")
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FRACTIONAL = ("FLOAT", "DOUBLE", "DECIMAL")
_NUMBER = r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))"
TIMES = ("TIMESTAMP", "DATE")  # TIMESTAMP WITH TIME ZONE, TIMESTAMP_NS and so on begin like this


def text_cell(source: Source, column: str) -> str:
    """An id or another short text; null when absent, null, blank, or see `text_fault`.

    Whole numbers are taken as text, also where the column is of DECIMAL or DOUBLE: exports write ids so, the latter
    when one is missing.
    """
    if column not in source.columns:
        return "NULL::VARCHAR"
    kind, cell = source.columns[column], source.cell(column)
    if kind.startswith(FRACTIONAL):
        return f"{whole_number(cell, kind)}::VARCHAR"
    if kind not in ("VARCHAR", "UUID", "BOOLEAN", *WHOLE) and not kind.startswith("ENUM"):
        raise _unfit(source, column, "text")
    return f"CASE WHEN {is_given(source, column)} THEN {cell}::VARCHAR END"


def text_fault(source: Source, column: str, most: int = ID_BYTES) -> str:
    """Why the cell is no text that JSON could bring too, in the same words; null when it is, or is not given."""
    if column not in source.columns:
        return "NULL::VARCHAR"
    kind, cell = source.columns[column], source.cell(column)
    if kind.startswith(FRACTIONAL):
        given, read = is_given(source, column), text_cell(source, column)
        return f"CASE WHEN {given} AND {read} IS NULL THEN '{column} is neither text nor a whole number' END"
    if kind != "VARCHAR":
        return "NULL::VARCHAR"
    return f"""CASE WHEN contains({cell}, chr(0)) THEN '{column} holds a NUL character'
        WHEN strlen({cell}) > {most} AND {is_given(source, column)} THEN '{column} is longer than {most:,} bytes' END"""


def require_ids(duck: Duck, source: Source, columns: Collection[str]) -> None:
    """Raise InvalidInput for an id column of numbers of which none is whole: it holds something else than ids."""
    for column in columns:
        if source.columns.get(column, "").startswith(FRACTIONAL):
            found = f"count({text_cell(source, column)}) = 0 AND count({text_fault(source, column)}) > 0"
            if scalar(duck, f"SELECT ({found})::INTEGER FROM {source.rows}"):
                raise _unfit(source, column, "text or whole numbers")


def list_fault(source: Source, column: str) -> str:
    """`text_fault` of the parts of a list of ids."""
    if column not in source.columns:
        return "NULL::VARCHAR"
    parts = list_cell(source, column, "VARCHAR")
    return f"""CASE WHEN list_bool_or(list_transform({parts}, lambda x: contains(x, chr(0))))
            THEN '{column} holds a NUL character'
        WHEN list_bool_or(list_transform({parts}, lambda x: strlen(x) > {ID_BYTES} AND trim(x) <> ''))
            THEN '{column} is longer than {ID_BYTES:,} bytes' END"""


def whole_number(cell: str, kind: str) -> str:
    """A column of DECIMAL, FLOAT or DOUBLE as whole numbers; null where it has others, or a float may have lost some.

    Integers beyond 2**53 are only some of the doubles: the id that was meant may have been another.
    """
    if kind.startswith("DECIMAL"):
        whole = f"TRY_CAST({cell} AS HUGEINT)"
        return whole if kind.endswith(",0)") else f"CASE WHEN {cell} = trunc({cell}) THEN {whole} END"
    exact = 2**24 if kind == "FLOAT" else 2**53
    return f"CASE WHEN {cell} = trunc({cell}) AND abs({cell}) < {exact} THEN TRY_CAST({cell} AS HUGEINT) END"


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
    cell = source.cell(column)
    return number_of_text(cell) if kind == "VARCHAR" else f"TRY_CAST({cell} AS DOUBLE)"


def plain_text(cell: str) -> str:
    """A text without the blanks around it."""
    return f"trim({cell}, E' \\t\\r\\n')"


def number_of_text(cell: str) -> str:
    """A double; null for what is no number in JSON or CSV: DuckDB's own cast takes 1_000 too."""
    trimmed = plain_text(cell)
    return f"TRY_CAST(CASE WHEN regexp_full_match({trimmed}, '{_NUMBER}') THEN {trimmed} END AS DOUBLE)"


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
    """Whether the file has a value in this cell; none is a null, blank text, and the NaN of a missing number."""
    if column not in source.columns:
        return "false"
    cell = source.cell(column)
    if source.columns[column] in ("FLOAT", "DOUBLE"):
        return f"coalesce(NOT isnan({cell}), false)"
    if source.columns[column] == "VARCHAR":
        return f"coalesce({plain_text(cell)} <> '', false)"
    return f"{cell} IS NOT NULL"


def _unfit(source: Source, column: str, wanted: str) -> InvalidInput:
    return InvalidInput(
        f"column `{column}` of {source.what} file {source.path} is {source.columns[column]}; it must be {wanted}"
    )
