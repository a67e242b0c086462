"""Arrival of a file in the log: the part that events, items and users files share."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb

from portrait.feature_repo.ingest.cells import IDS, require_ids
from portrait.feature_repo.ingest.ingest_report import Rejects, TableReport
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.duck import Duck, scalar
from portrait.feature_repo.log.forgotten import REASON, Tombstones
from portrait.feature_repo.log.manifest import Manifest, Segment
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.errors import InvalidInput, first_line
from portrait.registry.progress import Progress


@dataclass(frozen=True)
class JudgingContext:
    """The state that a file is judged against, and the buckets to judge again (None: all)."""

    manifest: Manifest
    moved: Collection[int] | None
    forgotten: Tombstones
    progress: Progress


class Arrival(ABC):
    """A staged file. `judge` may be called again after others have committed."""

    def __init__(self, duck: Duck, settings: FeatureSettings, ingest: str, source: Source, now: datetime) -> None:
        self.duck = duck
        self.home = settings.home
        self.ingest = ingest
        self.source = source
        self.now = now
        with self.reading():
            require_ids(duck, source, IDS)

    @staticmethod
    def reads(column: str) -> bool:
        """Whether a column of the file means anything."""
        return True

    @abstractmethod
    def judge(self, judging: JudgingContext) -> None:
        """Compare the rows with the log and write segments of the new ones."""

    @property
    @abstractmethod
    def segments(self) -> list[Segment]: ...

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
        """The counts of the file, with its rejects."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn an error of DuckDB that comes from the file into an InvalidInput of one line."""
        try:
            yield
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise InvalidInput(f"{self.source.shown} cannot be read to its end: {first_line(error)}") from error

    def discard(self, segments: Collection[Segment]) -> None:
        """Remove files that will not be committed."""
        for segment in segments:
            (self.home / segment.path).unlink(missing_ok=True)

    def _refuse_forgotten(self, staged: str, forgotten: Tombstones) -> None:
        """Reject the rows of forgotten users with that reason, whatever else is wrong with them."""
        if not forgotten:
            return
        users = self.duck.execute(f"SELECT DISTINCT user_id FROM {staged} WHERE user_id IS NOT NULL").fetchall()
        refused = sorted(forgotten.among(user for (user,) in users))
        if refused:
            self.duck.execute(f"UPDATE {staged} SET reason = '{REASON}' WHERE list_contains(?, user_id)", [refused])
        lines = self.duck.execute(f"SELECT row, line FROM {self.source.malformed} WHERE line IS NOT NULL").fetchall()
        named = [row for row, line in lines if forgotten.among(self.source.cells_of(line))]
        if named:
            refuse = f"UPDATE {self.source.malformed} SET reason = '{REASON}', line = NULL WHERE list_contains(?, row)"
            self.duck.execute(refuse, [named])

    def _malformed(self) -> int:
        return scalar(self.duck, f"SELECT count(*) FROM {self.source.malformed}")
