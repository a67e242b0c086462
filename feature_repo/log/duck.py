"""DuckDB connections (bounded memory, two threads, UTC, spilling into the home), and SQL literals."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import duckdb

from portrait.registry.errors import InvalidInput

Duck: TypeAlias = duckdb.DuckDBPyConnection

THREADS = 2


@contextmanager
def connect(memory: str, spill: Path, threads: int = THREADS, database: Path | None = None) -> Iterator[Duck]:
    """A connection that keeps to `memory` and spills into the folder `spill`; closed when the block ends.

    A `database` is a file that need not last: it is left out where DuckDB could not open a path of that kind.
    """
    config = {
        "memory_limit": memory,
        "threads": threads,
        "temp_directory": str(spill),
        "autoinstall_known_extensions": False,  # never reach for the network
    }
    # After a `?` in a database's path DuckDB reads parameters; what is held in memory spills all the same.
    place = ":memory:" if database is None or "?" in str(database) else str(database)
    try:
        connection = duckdb.connect(place, config=config)
    except duckdb.ParserException as error:
        raise InvalidInput(f"PORTRAIT_INGEST_MEMORY is {memory!r}: give a size such as 1GB") from error
    try:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        yield connection
    finally:
        connection.close()


@contextmanager
def enough_memory(memory: str) -> Iterator[None]:
    """Raise InvalidInput that names the setting to raise when DuckDB cannot do with `memory`."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise InvalidInput(f"PORTRAIT_INGEST_MEMORY is {memory}, which is too little here: raise it") from error


def text(value: str) -> str:
    """The value as a SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def plain_path(path: Path) -> str:
    """The path as DuckDB's readers of files take it: they know patterns, and here no character is part of one.

    Raises InvalidInput for a path with both a backslash and one of `*?[`, which DuckDB has no way to write.
    """
    written = str(path)
    if not re.search(r"[*?[]", written):
        return written  # in a path without patterns a backslash is a backslash
    if "\\" in written:
        raise InvalidInput(f"{written} holds both a backslash and one of * ? [, and cannot be read: rename a folder")
    return re.sub(r"[*?[]", r"[\g<0>]", written)


def path_text(path: Path) -> str:
    """`plain_path` as a SQL string literal."""
    return text(plain_path(path))


def name(column: str) -> str:
    """The column as a quoted SQL name."""
    return '"' + column.replace('"', '""') + '"'


def texts(values: Iterable[str]) -> str:
    """The values as a SQL list of string literals."""
    return "[" + ", ".join(map(text, values)) + "]"


def scalar(duck: Duck, query: str) -> int:
    """The one number that the query returns; 0 for no row and for null."""
    row = duck.execute(query).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
