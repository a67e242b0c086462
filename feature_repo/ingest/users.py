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
    text_cell,
    time_cell,
)
from portrait.feature_repo.ingest.event_files import is_future
from portrait.feature_repo.ingest.keyed_rows import KeyedTable
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.ingest.time_text import parse_time_sql
from portrait.feature_repo.log.duck import Duck, name
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_sql
from portrait.feature_repo.log.profiles import STORED_FIXED as FIXED
from portrait.feature_repo.log.profiles import USERS_KEYS, common_type
from portrait.feature_repo.schemas import HISTORY, PROFILE_FIXED
from portrait.registry.errors import InvalidInput

USERS_NEEDED = ("user_id",)
RESERVED = frozenset(
    {*HISTORY.names, *PROFILE_FIXED.names, "row", "bucket", "reason", "verdict", "rank", "alike", "kind"}
)
_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")  # no double underscore: Feast puts one between view and feature


def users_table(duck: Duck, source: Source, known: Mapping[str, str]) -> KeyedTable:
    """Layout of the users table after this file; `known` are the types of the further columns before it.

    Raises InvalidInput for a further column with an unfit name or type.
    """
    further = [column for column in source.columns if column not in FIXED]
    types = dict(known)
    for column, kind in _types(duck, source, further).items():
        if kind is None:  # a column of nulls has no type of its own
            types.setdefault(column, "VARCHAR")
        else:
            types[column] = common_type(types.get(column, kind), kind)
    present = frozenset(column for column in source.columns)
    return KeyedTable(SegmentKind.USERS, USERS_KEYS, FIXED | types, present)


def canonical_users(source: Source, table: KeyedTable, now: datetime) -> str:
    """A SELECT of `row, bucket`, the table's columns and `reason` (null when the row is good)."""
    further = {column: kind for column, kind in table.columns.items() if column not in FIXED}
    cells = "".join(f", {_further_cell(source, c, kind)} AS {name(c)}" for c, kind in further.items())
    names = ", ".join(map(name, table.columns))
    return f"""
        SELECT row, {bucket_sql("user_id")} AS bucket, {names}, {_reason(further, now)} AS reason FROM (
            SELECT row, {text_cell(source, "user_id")} AS user_id,
                   {time_cell(source, "created_time")} AS created_time,
                   {is_given(source, "created_time")} AS time_given,
                   {full_list(list_cell(source, "onboarding_items", "VARCHAR"))} AS onboarding_items,
                   {is_not_list(source, "onboarding_items", "VARCHAR")} AS no_list{cells}
            FROM {source.rows})"""


def _further_cell(source: Source, column: str, kind: str) -> str:
    if column not in source.columns:
        return f"NULL::{kind}"
    cell = source.cell(column)
    if source.columns[column] == "VARCHAR":
        cell = f"CASE WHEN trim({cell}) <> '' THEN {cell if kind == 'VARCHAR' else f'trim({cell})'} END"
    if kind == "TIMESTAMPTZ" and source.columns[column] == "VARCHAR":
        return parse_time_sql(cell)
    if kind == "DOUBLE":
        return f"nullif(TRY_CAST({cell} AS DOUBLE), 'nan'::DOUBLE)"  # pandas writes a missing number as NaN
    return f"TRY_CAST({cell} AS {kind})"


def _reason(further: Mapping[str, str], now: datetime) -> str:
    numbers = (column for column, kind in further.items() if kind == "DOUBLE")
    infinite = " ".join(f"WHEN isinf({name(column)}) THEN '{column} is not finite'" for column in numbers)
    return f"""CASE
        WHEN user_id IS NULL THEN 'user_id is null or empty'
        WHEN time_given AND (created_time IS NULL OR NOT isfinite(created_time)) THEN 'created_time is not a time'
        WHEN created_time < {EARLIEST} THEN 'created_time lies before 1900'
        WHEN {is_future("created_time", now)} THEN 'created_time lies in the future'
        WHEN no_list THEN 'onboarding_items is no list'
        {infinite} END"""


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
        "DOUBLE": "bool_and(TRY_CAST(v AS DOUBLE) IS NOT NULL AND v NOT SIMILAR TO '[+-]?0[0-9].*') "
        "AND bool_or(v SIMILAR TO '.*[0-9].*')",  # not the words "inf" and "nan" alone
        "TIMESTAMPTZ": f"bool_and({parse_time_sql('v')} IS NOT NULL)",
    }
    value = f"trim({nonblank_value(source, column)})"
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
