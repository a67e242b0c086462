"""Conversion of foreign Parquet files to canonical tables, all of them or none: the part that adapters share."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from portrait.feature_repo.log.duck import text
from portrait.feature_repo.log.durable_files import replacement
from portrait.registry.errors import InvalidInput, first_line


@dataclass(frozen=True)
class CanonicalFiles:
    """The canonical tables of a data set, as `portrait ingest` takes them; None where the set has no such table."""

    events: Path
    items: Path | None = None
    users: Path | None = None
    labels: Path | None = None


class Conversion:
    """One conversion into `out_dir`, as a context: either all files appear at its end, or none.

    SQL runs in DuckDB; a TIMESTAMP is UTC. Raises InvalidInput, with file and column, for sources that do not fit.
    """

    def __init__(self, out_dir: Path) -> None:
        self._out_dir = out_dir
        self._connection = duckdb.connect(config={"threads": 2})
        # DuckDB draws a bar on standard output after two seconds wherever it takes the process for a prompt.
        self._connection.execute("SET enable_progress_bar = false")
        self._sources: list[Path] = []
        self._written = ExitStack()  # replacements, which end together

    def source(self, name: str, path: Path, columns: tuple[str, ...]) -> None:
        """Make a Parquet file readable in SQL as `name`; it must have these columns and at least one row."""
        metadata = _metadata(path)
        missing = [column for column in columns if column not in metadata.schema.to_arrow_schema().names]
        if missing:
            raise InvalidInput(f"{path} has no column {', '.join(missing)}: the adapter needs {', '.join(columns)}")
        if metadata.num_rows == 0:
            raise InvalidInput(f"{path} holds no rows")
        self._sources.append(path)
        # Through Arrow and not read_parquet(): a path is a path, never a glob.
        self._connection.register(name, ds.dataset(path, format="parquet"))

    def table(self, name: str, table: pa.Table, path: Path) -> None:
        """Make an Arrow table that was read from `path` readable in SQL as `name`."""
        self._sources.append(path)
        self._connection.register(name, table)

    def write(self, name: str, query: str) -> Path:
        """Write the query's rows as the canonical table `name`; returns where the file will lie."""
        path = self._out_dir / f"{name}.parquet"
        scratch = self._written.enter_context(replacement(path, durable=False))
        # Straight into the scratch file: for one that exists DuckDB would make another beside it, and leave it there.
        self._connection.execute(
            f"COPY ({query}) TO {text(str(scratch))} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
        )
        return path

    def __enter__(self) -> Self:
        self._out_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        self._written.__exit__(kind, error, traceback)
        if isinstance(error, duckdb.Error):
            read = ", ".join(map(str, self._sources))
            raise InvalidInput(f"{read} cannot be converted: {first_line(error)}") from error


def _metadata(path: Path) -> pq.FileMetaData:
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    try:
        return pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInput(f"{path} is not a Parquet file: {first_line(error)}") from error
