"""Writers of the tiny foreign tables that the adapters read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


class Folder:
    """A folder of Parquet tables given as columns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, **columns: list[Any] | pa.Array) -> Path:
        """Write one table; returns its path."""
        pq.write_table(pa.table(columns), self.path / name)
        return self.path / name


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "foreign"
    path.mkdir()
    return Folder(path)


def rows(path: Path | None) -> list[dict[str, Any]]:
    """The rows of a canonical table."""
    assert path is not None
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found
