"""Users files: `user_id`, `created_time`, `onboarding_items`, further scalar columns, and SQL that judges them."""

import re
from collections.abc import Mapping
from datetime import datetime

from portrait.feature_repo.ingest.cells import (
    EARLIEST,
    FRACTIONAL,
    TIMES,
    WHOLE,
    full_list,
    is_given,
    is_not_list,
    list_cell,
    list_fault,
    number_cell,
    number_of_text,
    plain_text,
    text_cell,
    text_fault,
    time_cell,
    whole_number,
)
from portrait.feature_repo.ingest.event_files import is_future
from portrait.feature_repo.ingest.keyed_rows import KeyedTable
from portrait.feature_repo.ingest.record_fields import TEXT_BYTES
from portrait.feature_repo.ingest.source import Source, require_known_case
from portrait.feature_repo.log.duck import Duck, name, scalar
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_sql
from portrait.feature_repo.log.profiles import STORED_FIXED as FIXED
from portrait.feature_repo.log.profiles import USERS_KEYS, WANTED
from portrait.feature_repo.log.time_text import parse_time_sql
from portrait.feature_repo.schemas import HISTORY, PROFILE_FIXED
from portrait.registry.errors import InvalidInput

USERS_NEEDED = ("user_id",)
RESERVED = frozenset(
    {*HISTORY.names, *PROFILE_FIXED.names, "row", "bucket", "reason", "verdict", "rank", "alike", "kind"}
)
_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")  # no double underscore: Feast puts one between view and feature


def users_table(duck: Duck, source: Source, known: Mapping[str, str | None]) -> KeyedTable:
    """Layout of the users table after this file; `known` are the types of the further columns before it.

    A column keeps its type, whatever the file has: values that are none of it are rejected. Only a column of whole
    numbers becomes one of numbers when the file brings others, and one without any value takes the type of the first.
    Raises InvalidInput for a further column with an unfit name or type.
    """
    further = [column for column in source.columns if column not in FIXED]
    require_known_case(source, further, known)
    types = dict(known)
    for column, kind in _types(duck, source, further).items():
        if kind is not None or column not in types:
            types[column] = types.get(column) or kind
        if types[column] == "BIGINT" and kind not in ("BIGINT", None) and _has_other_numbers(duck, source, column):
            types[column] = "DOUBLE"
    layout = FIXED | {column: kind or "VARCHAR" for column, kind in types.items()}
    return KeyedTable(SegmentKind.USERS, USERS_KEYS, layout, frozenset(source.columns))


def canonical_users(source: Source, table: KeyedTable, now: datetime) -> str:
    """A SELECT of `row, bucket`, the table's columns and `reason` (null when the row is good)."""
    further = {column: kind for column, kind in table.columns.items() if column not in FIXED}
    cells = "".join(
        f", {_profile_cell(source, c, kind)} AS {name(c)}, {is_given(source, c)} AS {name(c + '__given')}"
        f", {_profile_fault(source, c, kind)} AS {name(c + '__fault')}"
        for c, kind in further.items()
    )
    names = ", ".join(map(name, table.columns))
    return f"""
        SELECT row, {bucket_sql("user_id")} AS bucket, {names}, {_reason(further, now)} AS reason FROM (
            SELECT row, {text_cell(source, "user_id")} AS user_id,
                   coalesce({text_fault(source, "user_id")}, {list_fault(source, "onboarding_items")}) AS text__fault,
                   {time_cell(source, "created_time")} AS created_time,
                   {is_given(source, "created_time")} AS time__given,
                   {full_list(list_cell(source, "onboarding_items", "VARCHAR"))} AS onboarding_items,
                   {is_not_list(source, "onboarding_items", "VARCHAR")} AS no__list{cells}
            FROM {source.rows})"""


def _profile_cell(source: Source, column: str, kind: str) -> str:
    """A value of a further column of type `kind`; null when absent, blank or none of this type."""
    if column not in source.columns:
        return f"NULL::{kind}"
    cell, given = source.cell(column), source.columns[column]
    if kind == "VARCHAR":
        plain = f"CASE WHEN {is_given(source, column)} THEN {cell}::VARCHAR END"
        # Whole numbers are the same text in a column of doubles, which exports make when one is missing.
        return f"coalesce({text_cell(source, column)}, {plain})" if given.startswith(FRACTIONAL) else plain
    if kind == "BOOLEAN":
        words = f"CASE lower({plain_text(cell)}) WHEN 'true' THEN true WHEN 'false' THEN false END"
        return cell if given == "BOOLEAN" else words if given == "VARCHAR" else "NULL::BOOLEAN"
    if kind == "TIMESTAMPTZ":
        return time_cell(source, column) if given == "VARCHAR" or given.startswith(TIMES) else "NULL::TIMESTAMPTZ"
    if given == "VARCHAR":
        return _number_of_code(plain_text(cell), kind)
    if given not in WHOLE and not given.startswith(FRACTIONAL):
        return f"NULL::{kind}"
    if kind == "DOUBLE":
        return f"nullif({number_cell(source, column)}, 'nan'::DOUBLE)"  # pandas writes a missing number as NaN
    return f"TRY_CAST({cell if given in WHOLE else whole_number(cell, given)} AS BIGINT)"


def _profile_fault(source: Source, column: str, kind: str) -> str:
    return (
        text_fault(source, column, TEXT_BYTES) if kind == source.columns.get(column) == "VARCHAR" else "NULL::VARCHAR"
    )


def _number_of_code(text: str, kind: str) -> str:
    """A number of a trimmed text; a leading zero belongs to a code, not to a number."""
    number = f"nullif({number_of_text(text)}, 'nan'::DOUBLE)"
    if kind == "BIGINT":
        digits = f"CASE WHEN regexp_full_match({text}, '[+-]?[0-9]+') THEN TRY_CAST({text} AS BIGINT) END"
        number = f"coalesce({digits}, TRY_CAST({whole_number(number, 'DOUBLE')} AS BIGINT))"
    return f"CASE WHEN NOT regexp_full_match({text}, '[+-]?0[0-9].*') THEN {number} END"


def _has_other_numbers(duck: Duck, source: Source, column: str) -> bool:
    """Whether the file brings numbers that are not whole, or have more than 64 bits."""
    number, whole = _profile_cell(source, column, "DOUBLE"), _profile_cell(source, column, "BIGINT")
    query = f"SELECT count(*) FROM {source.rows} WHERE isfinite({number}) AND {whole} IS NULL"
    return scalar(duck, query) > 0


def _reason(further: Mapping[str, str], now: datetime) -> str:
    others = "".join(
        f"""
        WHEN {name(column + "__fault")} IS NOT NULL THEN {name(column + "__fault")}
        WHEN {name(column + "__given")} AND {name(column)} IS NULL THEN '{column} is not {WANTED[kind]}'"""
        + (f" WHEN isinf({name(column)}) THEN '{column} is not finite'" if kind == "DOUBLE" else "")
        for column, kind in further.items()
    )
    return f"""CASE
        WHEN text__fault IS NOT NULL THEN text__fault
        WHEN user_id IS NULL THEN 'user_id is null or empty'
        WHEN time__given AND created_time IS NULL THEN 'created_time is not a time'
        WHEN created_time < {EARLIEST} THEN 'created_time lies before 1900'
        WHEN {is_future("created_time", now)} THEN 'created_time lies in the future'
        WHEN no__list THEN 'onboarding_items is no list' {others} END"""


def _types(duck: Duck, source: Source, columns: list[str]) -> dict[str, str | None]:
    """Type of each further column; None when it holds only nulls."""
    for column in columns:
        _require_fit_name(source, column)
    if not columns:
        return {}
    declared = {column: "VARCHAR" if source.csv else _declared_type(source, column) for column in columns}
    counts = duck.execute(
        f"SELECT {', '.join(f'count({nonblank_value(source, column)})' for column in columns)} FROM {source.rows}"
    ).fetchone()
    filled = dict(zip(columns, counts or (), strict=True))
    return {
        column: None if not filled[column] else _infer_type(duck, source, column) if source.csv else declared[column]
        for column in columns
    }


def nonblank_value(source: Source, column: str) -> str:
    """SQL for a cell, null when it is blank."""
    return f"CASE WHEN {is_given(source, column)} THEN {source.cell(column)} END"


def _declared_type(source: Source, column: str) -> str:
    kind = source.columns[column]
    if kind in ("BOOLEAN", "VARCHAR"):
        return kind
    if kind == "UUID" or kind.startswith("ENUM"):
        return "VARCHAR"
    if kind in WHOLE:
        return "DOUBLE" if kind in ("HUGEINT", "UBIGINT") else "BIGINT"
    if kind.startswith(FRACTIONAL):
        return "DOUBLE"
    if kind.startswith(TIMES):
        return "TIMESTAMPTZ"
    raise InvalidInput(
        f"column `{column}` of users file {source.path} is {kind}; "
        "a further profile column must be text, number, bool or timestamp"
    )


def _infer_type(duck: Duck, source: Source, column: str) -> str:
    """The narrowest type that fits every value of a CSV column; text where a cast would lose something."""
    tests = {
        "BOOLEAN": "bool_and(lower(v) IN ('true', 'false'))",
        # DuckDB would round 1.5 to a whole number; a leading zero belongs to a code, not to a number.
        "BIGINT": "bool_and(v SIMILAR TO '[+-]?(0|[1-9][0-9]*)' AND TRY_CAST(v AS BIGINT) IS NOT NULL)",
        "DOUBLE": f"bool_and({number_of_text('v')} IS NOT NULL AND v NOT SIMILAR TO '[+-]?0[0-9].*') "
        "AND bool_or(v SIMILAR TO '.*[0-9].*')",  # not the words "inf" and "nan" alone
        "TIMESTAMPTZ": f"bool_and({parse_time_sql('v')} IS NOT NULL)",
    }
    value = plain_text(nonblank_value(source, column))
    row = duck.execute(
        f"SELECT {', '.join(tests.values())} FROM (SELECT {value} AS v FROM {source.rows}) WHERE v IS NOT NULL"
    ).fetchone()
    return next((kind for kind, fits in zip(tests, row or (), strict=True) if fits), "VARCHAR")


def _require_fit_name(source: Source, column: str) -> None:
    shown = f"column `{column}` of users file {source.path}"
    if not _NAME.fullmatch(column):
        raise InvalidInput(f"{shown} needs a name of letters, digits and single underscores: rename it")
    if column.lower() in RESERVED:
        raise InvalidInput(f"{shown} has a name that Portrait uses itself: rename it")
