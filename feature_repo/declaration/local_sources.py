"""Parquet files of a view's source on this machine: which they are, and a digest of what they hold."""

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from portrait.feature_repo.log.durable_files import file_digest

ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class LocalFiles:
    """The files of a source, sorted; `place` is the path that the source names."""

    place: Path
    files: tuple[Path, ...]

    @classmethod
    def of(cls, source: DataSource | None, repo_path: Path | str | None) -> Self | None:
        """The files of a source now; None for one that is not made of Parquet files on this machine.

        A path that exists is taken as it is, whatever characters are in it; any other may be a pattern, as Feast
        has it. A relative one starts in the folder of `feast apply`.
        """
        if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
            return None
        path = str(source.path).removeprefix("file://")
        if ELSEWHERE.match(path):
            return None
        place = Path(repo_path or ".") / path
        if place.is_file():
            return cls(place, (place,))
        pattern = f"{glob.escape(str(place))}/**/*.parquet" if place.is_dir() else str(place)
        # By this glob and not that of Path, which follows no links to folders; DuckDB follows them.
        found = map(Path, glob.glob(pattern, recursive=True, include_hidden=True))  # noqa: PTH207
        return cls(place, tuple(sorted(file for file in found if file.is_file())))

    def partition_keys(self, file: Path) -> set[str]:
        """Columns that a file has by its folders below the source's path, as in `date=2024-05-01/part-0.parquet`."""
        below = file.relative_to(self.place).parent.parts if file.is_relative_to(self.place) else ()
        return {key for key, is_value, _ in (part.partition("=") for part in below) if key and is_value}

    @property
    def stamp(self) -> str:
        """A digest of the files' content and of their names below the source's path."""
        digest = hashlib.sha256()
        for file in self.files:
            now = file.stat()
            identity = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
            digest.update(f"{os.path.relpath(file, self.place)} {_digest(file, identity)}\n".encode())
        return digest.hexdigest()


@lru_cache(maxsize=10_000)
def _digest(file: Path, _identity: Sequence[int]) -> str:
    # A file that is written anew has another time of change, which no program can set back.
    return file_digest(file)
