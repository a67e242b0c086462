"""Known columns of a log: further profile columns and ready vectors, read again every few seconds."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from portrait.feature_repo.ingest.items import vector_columns
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.duck import name, scalar
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.profiles import further_columns
from portrait.registry.errors import PortraitError

SECONDS = 5.0
"""How long new columns may go unnoticed."""


@dataclass(frozen=True)
class Columns:
    """The columns that the committed files have brought beside the fixed ones."""

    further: Mapping[str, str] = field(default_factory=dict)  # DuckDB types of the further profile columns
    vectors: Mapping[str, int] = field(default_factory=dict)  # lengths of the catalogue's vectors, by column


class KnownColumns:
    """The columns of a log; safe to share between threads."""

    def __init__(self, log: EventLog, seconds: float = SECONDS) -> None:
        self._log = log
        self._seconds = seconds
        self._columns: Columns | None = None
        self._read_at = 0.0
        self._reading = threading.Lock()

    @property
    def stale(self) -> bool:
        """Whether `refresh` has something to do."""
        return self._columns is None or time.monotonic() - self._read_at > self._seconds

    @property
    def current(self) -> Columns:
        """The columns as last read; reads them the first time, and may raise Unavailable then."""
        if self._columns is None:
            self.refresh()
        assert self._columns is not None
        return self._columns

    def refresh(self, at_once: bool = False) -> None:
        """Read the columns again if they are stale, or `at_once`; while one thread reads, others keep the former ones.

        Raises Unavailable when the registry is away and they have never been read.
        """
        if not self._reading.acquire(blocking=self._columns is None):
            return
        try:
            if at_once or self.stale:
                self._columns = self._read()
                self._read_at = time.monotonic()
        except PortraitError:
            if self._columns is None:
                raise
        finally:
            self._reading.release()

    def _read(self) -> Columns:
        manifest = self._log.manifest()
        further = further_columns(self._log.home, manifest.segments_of(SegmentKind.USERS))
        return Columns(further, self._vectors(manifest))

    def _vectors(self, manifest: Manifest) -> dict[str, int]:
        lengths = dict(self._columns.vectors) if self._columns else {}  # a column's length never changes
        segments = manifest.segments_of(SegmentKind.ITEMS)
        new = [column for column in vector_columns(self._log.home, segments) if column not in lengths]
        if new:
            with self._log.duck() as duck:
                for column in new:
                    rows = rows_of(self._log.home, segments, {column: "FLOAT[]"}, positions=False)
                    size = f"len({name(column)})"
                    lengths[column] = scalar(duck, f"SELECT {size} FROM {rows} WHERE {size} > 0 LIMIT 1")
        return {column: length for column, length in lengths.items() if length}
