"""A file on its way into the log: what the three kinds of tables have in common for `ingest`."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb

from feature_repo.log.duck import Duck, one_line, scalar
from feature_repo.log.manifest import Manifest, Segment
from feature_repo.log.rejects import Rejects
from feature_repo.log.report import TableReport
from feature_repo.log.source import Source
from feature_repo.progress import Progress
from registry.errors import InvalidInput


class Arrival(ABC):
    """A staged file. `judge` may be called again when others have committed in between."""

    def __init__(self, duck: Duck, home: Path, ingest: str, source: Source, now: datetime) -> None:
        self.duck = duck
        self.home = home
        self.ingest = ingest
        self.source = source
        self.now = now

    @abstractmethod
    def judge(self, manifest: Manifest, moved: Collection[int] | None, progress: Progress) -> None:
        """Compare with the log as of `manifest` and write segments; `moved`: buckets to look at again, None = all."""

    @property
    @abstractmethod
    def segments(self) -> list[Segment]:
        """The segments to commit."""

    @property
    @abstractmethod
    def guarded(self) -> Collection[int]:
        """Buckets that must not have moved when the segments are committed."""

    @property
    @abstractmethod
    def rejected(self) -> str:
        """A relation (row, reason) of the rejected rows."""

    @abstractmethod
    def report(self, rejects: Rejects) -> TableReport:
        """What became of the file."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn an error of DuckDB that comes from the file into one clear line."""
        try:
            yield
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise InvalidInput(f"{self.source.shown} cannot be read to its end: {one_line(error)}") from error

    def discard(self, segments: Collection[Segment]) -> None:
        """Remove files that will not be committed."""
        for segment in segments:
            (self.home / segment.path).unlink(missing_ok=True)

    def _malformed(self) -> int:
        return scalar(self.duck, f"SELECT count(*) FROM {self.source.malformed}")
