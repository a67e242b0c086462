"""A caller's file, Parquet or CSV (plain or gzip), as a DuckDB relation of numbered rows."""

import csv
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.ingest.formats.csv_rows import (
    GZIP_ERRORS,
    LONGEST_LINE,
    CsvLayout,
    is_unicode,
    open_text,
    unpack_csv,
)
from portrait.feature_repo.ingest.formats.parquet_rows import holds_other_bytes, unpack_parquet
from portrait.feature_repo.log.duck import Duck, name, path_text
from portrait.registry.errors import InvalidInput, first_line

DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Source:
    """An opened file: its columns by name with their DuckDB types (all VARCHAR in a CSV)."""

    path: Path
    what: str  # events, items or users: for messages and table names
    columns: dict[str, str]
    csv: CsvLayout | None = None
    data: Path | None = None  # the Parquet file to read; of a CSV only once it is prepared
    unpacked: bool = False  # whether `data` has the columns `row`, `c0`, `c1`, ...

    @property
    def shown(self) -> str:
        """The name of the file in messages."""
        return f"{self.what} file {self.path}"

    @property
    def malformed(self) -> str:
        """The table (row, reason, line) of the malformed lines; see `prepared`."""
        return f"malformed_{self.what}"

    def cell(self, column: str) -> str:
        """The SQL name of a column in the relation `rows`."""
        return f"c{list(self.columns).index(column)}"

    def cells_of(self, line: str) -> set[str]:
        """The cells of a malformed line, as far as they can be told."""
        delimiter = self.csv.delimiter if self.csv else ","
        return {cell.strip(" \"'\r\n") for cell in line.split(delimiter)}

    @property
    def _data(self) -> str:
        assert self.data is not None
        return path_text(self.data)

    @property
    def rows(self) -> str:
        """A relation of `row` (from 1) and `c0`, `c1`, ... in the file's order."""
        if self.unpacked:
            return f"read_parquet({self._data}, hive_partitioning = false)"
        cells = ", ".join(f"{name(column)} AS c{i}" for i, column in enumerate(self.columns))
        return (
            f"(SELECT file_row_number + 1 AS row, {cells} FROM read_parquet({self._data}, "
            "file_row_number = true, binary_as_string = true, hive_partitioning = false))"
        )

    def prepared(self, duck: Duck, working: Path, reads: Callable[[str], bool] = lambda column: True) -> "Source":
        """The source, ready to be read; makes the table `malformed`.

        A CSV is unpacked into the folder `working`, and so is a Parquet file with bytes that are not UTF-8 in a column
        that is read (`reads`): then the others are left out. Raises InvalidInput when the file cannot be read to its
        end or has no rows.
        """
        duck.execute(f"CREATE TABLE {self.malformed} (row BIGINT, reason VARCHAR, line VARCHAR)")
        rows_to, malformed_to = working / f"{self.what}.parquet", working / f"{self.malformed}.parquet"
        columns = self.columns
        if self.csv:
            try:
                rows = unpack_csv(self.path, self.csv, rows_to, malformed_to)
            except GZIP_ERRORS as error:
                raise InvalidInput(f"{self.shown} is a damaged gzip file: {error}") from error
            if rows == 0:
                raise InvalidInput(f"{self.shown} has no rows")
        else:
            read = [column for column in columns if reads(column)]
            try:
                if not holds_other_bytes(self.path, read):
                    return self
                unpack_parquet(self.path, read, rows_to, malformed_to)
            except (pa.ArrowException, OSError) as error:
                raise InvalidInput(f"{self.shown} cannot be read to its end: {first_line(error)}") from error
            columns = {column: columns[column] for column in read}
        duck.execute(
            f"INSERT INTO {self.malformed} FROM read_parquet({path_text(malformed_to)}, hive_partitioning = false)"
        )
        return replace(self, columns=columns, data=rows_to, unpacked=True)


def require_known_case(source: Source, columns: Collection[str], known: Collection[str]) -> None:
    """Raise InvalidInput for a column whose name is a known one in other letters: for DuckDB they are one column."""
    letters = {column.lower(): column for column in known}
    for column in columns:
        if letters.get(column.lower(), column) != column:
            raise InvalidInput(
                f"column `{column}` of {source.shown} is known as `{letters[column.lower()]}`: case does not count, "
                "rename it"
            )


def open_source(duck: Duck, path: Path, what: str, needed: Collection[str]) -> Source:
    """Look at the file and its columns; raises InvalidInput that names the file and a missing column."""
    shown = f"{what} file {path}"
    with suppress(RuntimeError):  # ~name of nobody is a file of that name
        path = path.expanduser()
    path = path.absolute()
    if not path.exists():
        raise InvalidInput(f"there is no {shown}")
    if not path.is_file():
        raise InvalidInput(f"{shown} is no file: give one Parquet or CSV file")
    if path.stat().st_size == 0:
        raise InvalidInput(f"{shown} is empty")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        return _parquet_source(duck, path, what, shown, needed)
    return _csv_source(path, what, shown, needed, compressed=magic[:2] == b"\x1f\x8b")


def _parquet_source(duck: Duck, path: Path, what: str, shown: str, needed: Collection[str]) -> Source:
    try:
        with pq.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
        relation = f"read_parquet({path_text(path)}, binary_as_string = true, hive_partitioning = false)"
        query = f"DESCRIBE SELECT * FROM {relation}"
        kinds = [row[1] for row in duck.execute(query).fetchall()]
    except (pa.ArrowException, OSError, duckdb.Error) as error:
        raise InvalidInput(f"{shown} is a damaged Parquet file: {first_line(error)}") from error
    _require_columns(shown, names, needed)
    if rows == 0:
        raise InvalidInput(f"{shown} has no rows")
    return Source(path, what, dict(zip(names, kinds, strict=True)), data=path)


def _csv_source(path: Path, what: str, shown: str, needed: Collection[str], compressed: bool) -> Source:
    try:
        with open_text(path, compressed) as file:
            line = file.readline(LONGEST_LINE).strip()
            has_rows = any(row.strip() for row in iter(lambda: file.readline(LONGEST_LINE), ""))
    except GZIP_ERRORS as error:
        raise InvalidInput(f"{shown} is a damaged gzip file: {first_line(error)}") from error
    if line.startswith("PAR1"):
        raise InvalidInput(f"{shown} is a gzipped Parquet file: unpack it first")
    if "\0" in line or not is_unicode(line):
        raise InvalidInput(f"{shown} is neither Parquet nor CSV in UTF-8")
    if not line:
        raise InvalidInput(f"{shown} has no header line")
    delimiter, names = _header(line, needed)
    _require_columns(shown, names, needed)
    if not has_rows:
        raise InvalidInput(f"{shown} has no rows")
    return Source(path, what, dict.fromkeys(names, "VARCHAR"), CsvLayout(delimiter, compressed, len(names)))


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
