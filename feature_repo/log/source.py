"""A caller's file, Parquet or CSV (plain or gzip), as a DuckDB relation of numbered rows."""

import csv
import gzip
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.log.duck import Duck, name, one_line, text
from registry.errors import InvalidInput

DELIMITERS = (",", "\t", ";", "|")
HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """An opened file: its columns by name with their DuckDB types (all VARCHAR in a CSV)."""

    path: Path
    what: str  # events, items or users: for messages
    columns: dict[str, str]
    delimiter: str | None = None  # of a CSV
    compressed: bool = False

    @property
    def is_csv(self) -> bool:
        """Whether the file is text, so that every value is."""
        return self.delimiter is not None

    def cell(self, column: str) -> str:
        """The SQL name of a column in the relation of `rows`."""
        return f"c{list(self.columns).index(column)}"

    def rows(self, keep_malformed: bool = False) -> str:
        """A relation of `row` (from 1) and `c0`, `c1`, ... in the file's order.

        `keep_malformed` makes DuckDB note the lines of a CSV that are no rows (see `note_malformed`);
        they are skipped in any case and not numbered.
        """
        if not self.is_csv:
            cells = ", ".join(f"{name(column)} AS c{i}" for i, column in enumerate(self.columns))
            return (
                f"(SELECT file_row_number + 1 AS row, {cells} FROM read_parquet({text(str(self.path))}, "
                "file_row_number = true, binary_as_string = true))"
            )
        kinds = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(self.columns)))
        bad = "store_rejects = true, rejects_table = 'csv_errors', rejects_scan = 'csv_scans'"
        return (
            f"(SELECT row_number() OVER () AS row, * FROM read_csv({text(str(self.path))}, auto_detect = false, "
            f"header = false, skip = 1, delim = {text(self.delimiter or '')}, quote = '\"', escape = '\"', "
            f"columns = {{{kinds}}}, compression = '{'gzip' if self.compressed else 'none'}', "
            f"{bad if keep_malformed else 'ignore_errors = true'}))"
        )

    @property
    def malformed(self) -> str:
        """The table (line, content, reason) that `note_malformed` makes."""
        return f"malformed_{self.what}"

    def note_malformed(self, duck: Duck) -> None:
        """Keep what the last `rows(keep_malformed=True)` skipped, in the table `malformed`."""
        duck.execute(f"CREATE OR REPLACE TABLE {self.malformed} (line BIGINT, content VARCHAR, reason VARCHAR)")
        if self.is_csv:
            duck.execute(
                f"INSERT INTO {self.malformed} SELECT line, any_value(csv_line), "
                "'malformed line: ' || lower(min(error_type::VARCHAR)) FROM csv_errors GROUP BY line"
            )
            duck.execute("DROP TABLE csv_errors; DROP TABLE csv_scans")


def open_source(duck: Duck, path: Path, what: str, needed: Collection[str]) -> Source:
    """Look at the file and its columns; raises InvalidInput naming the file, and the column that is missing."""
    shown = f"{what} file {path}"
    path = path.expanduser().absolute()
    if not path.exists():
        raise InvalidInput(f"there is no {shown}")
    if not path.is_file():
        raise InvalidInput(f"{shown} is no file: give one Parquet or CSV file")
    if path.stat().st_size == 0:
        raise InvalidInput(f"{shown} is empty")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        return _parquet(duck, path, what, shown, needed)
    return _csv(path, what, shown, needed, compressed=magic[:2] == b"\x1f\x8b")


def _parquet(duck: Duck, path: Path, what: str, shown: str, needed: Collection[str]) -> Source:
    try:
        with pq.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
        query = f"DESCRIBE SELECT * FROM read_parquet({text(str(path))}, binary_as_string = true)"
        kinds = [row[1] for row in duck.execute(query).fetchall()]
    except (pa.ArrowException, OSError, duckdb.Error) as error:
        raise InvalidInput(f"{shown} is a damaged Parquet file: {one_line(error)}") from error
    _require_columns(shown, names, needed)
    if rows == 0:
        raise InvalidInput(f"{shown} has no rows")
    return Source(path, what, dict(zip(names, kinds, strict=True)))


def _csv(path: Path, what: str, shown: str, needed: Collection[str], compressed: bool) -> Source:
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            start = file.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{shown} is a damaged gzip file: {one_line(error)}") from error
    if start[:4] == b"PAR1":
        raise InvalidInput(f"{shown} is a gzipped Parquet file: unpack it first")
    header, _, rest = start.partition(b"\n")
    try:
        line = header.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        line = "\0"
    if b"\0" in start or "\0" in line:
        raise InvalidInput(f"{shown} is neither Parquet nor CSV in UTF-8")
    if not line:
        raise InvalidInput(f"{shown} has no header line")
    delimiter, names = _header(line, needed)
    _require_columns(shown, names, needed)
    if not rest.strip():
        raise InvalidInput(f"{shown} has no rows")
    return Source(path, what, dict.fromkeys(names, "VARCHAR"), delimiter, compressed)


def _header(line: str, needed: Collection[str]) -> tuple[str, list[str]]:
    def cells(delimiter: str) -> list[str]:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]

    best = max(DELIMITERS, key=lambda delimiter: (len({*cells(delimiter)} & {*needed}), len(cells(delimiter))))
    return best, cells(best)


def _require_columns(shown: str, names: list[str], needed: Collection[str]) -> None:
    missing = [column for column in needed if column not in names]
    if missing:
        found = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise InvalidInput(f"{shown} has no column `{missing[0]}`; its columns are: {found[:500]}")
    lowered = [column.lower() for column in names]
    twice = [column for column in names if lowered.count(column.lower()) > 1]
    if twice:
        raise InvalidInput(f"{shown} has the column `{twice[0]}` twice (case does not count): rename one")
