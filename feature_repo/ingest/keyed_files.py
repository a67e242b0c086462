"""Arrival of users and items files in the log."""

from abc import abstractmethod
from collections.abc import Collection
from datetime import datetime

import pyarrow as pa

from portrait.feature_repo.ingest import items, users
from portrait.feature_repo.ingest import keyed_rows as keyed
from portrait.feature_repo.ingest.arrival import Arrival, JudgingContext
from portrait.feature_repo.ingest.ingest_report import Rejects, TableReport
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.duck import Duck, scalar
from portrait.feature_repo.log.manifest import Segment, SegmentKind
from portrait.feature_repo.log.profiles import settled_columns, stored_schema
from portrait.feature_repo.settings import FeatureSettings


class KeyedArrival(Arrival):
    """A users or items file."""

    kind: SegmentKind

    def __init__(self, duck: Duck, settings: FeatureSettings, ingest: str, source: Source, now: datetime) -> None:
        super().__init__(duck, settings, ingest, source, now)
        self._segments: list[Segment] = []
        self._table: keyed.KeyedTable
        self._verdicts: dict[str, int] = {}

    @abstractmethod
    def _stage(self, committed: list[Segment]) -> tuple[keyed.KeyedTable, str]:
        """The table's layout given the committed segments, and the canonical SELECT."""

    @abstractmethod
    def _schema(self, table: keyed.KeyedTable) -> pa.Schema:
        """Schema of the segment files of this kind."""

    def judge(self, judging: JudgingContext) -> None:
        """Judge all rows again when anything has moved: columns and types may have changed too."""
        manifest, moved, progress = judging.manifest, judging.moved, judging.progress
        if moved is not None and {*moved}.isdisjoint(self.guarded):
            return
        progress(f"write {self.kind}", 0, 1)
        committed = manifest.segments_of(self.kind)
        with self.reading():
            self._table, canonical = self._stage(committed)
            self.duck.execute(f"CREATE OR REPLACE TABLE {self._table.staged} AS {canonical}")
        if self.kind is SegmentKind.USERS:
            self._refuse_forgotten(self._table.staged, judging.forgotten)
        self.discard(self._segments)
        self._verdicts = keyed.judge(self.duck, self.home, self._table, committed)
        schema = self._schema(self._table)
        self._segments = keyed.write_changed(self.duck, self.home, self.ingest, self._table, schema)
        progress(f"write {self.kind}", 1, 1)

    @property
    def segments(self) -> list[Segment]:
        """The segments with added and changed rows."""
        return self._segments

    @property
    def guarded(self) -> Collection[int]:
        """The buckets that it writes to."""
        return {segment.bucket for segment in self._segments}

    @property
    def rejected(self) -> str:
        """Bad rows, and later rows of a key with other fields."""
        return (
            f"(SELECT row, reason FROM {self._table.staged} WHERE reason IS NOT NULL UNION ALL "
            f"SELECT row, '{self._table.repeated}' FROM {self._table.judged} WHERE verdict = 'rejected')"
        )

    def report(self, rejects: Rejects) -> TableReport:
        verdicts = self._verdicts
        added, changed, unchanged = (verdicts.get(verdict, 0) for verdict in ("added", "changed", "unchanged"))
        return TableReport(
            file=self.source.path,
            read=scalar(self.duck, f"SELECT count(*) FROM {self._table.staged}") + self._malformed(),
            accepted=added + changed,
            duplicates=unchanged + verdicts.get("duplicate", 0),
            rejected=rejects.counts,
            rejects=rejects.path,
            added=added,
            changed=changed,
            unchanged=unchanged,
        )


class UsersArrival(KeyedArrival):
    """A users file."""

    kind = SegmentKind.USERS

    def _stage(self, committed: list[Segment]) -> tuple[keyed.KeyedTable, str]:
        table = users.users_table(self.duck, self.source, settled_columns(self.home, committed))
        return table, users.canonical_users(self.source, table, self.now)

    def _schema(self, table: keyed.KeyedTable) -> pa.Schema:
        return stored_schema(table.columns)


class ItemsArrival(KeyedArrival):
    """An items file."""

    kind = SegmentKind.ITEMS

    @staticmethod
    def reads(column: str) -> bool:
        """The columns of the catalogue."""
        return column in items.FIXED or column.startswith(items.VECTOR)

    def _stage(self, committed: list[Segment]) -> tuple[keyed.KeyedTable, str]:
        table = items.items_table(self.source, items.vector_columns(self.home, committed))
        lengths = items.vector_lengths(self.duck, self.home, committed, self.source, table)
        return table, items.canonical_items(self.source, table, lengths)

    def _schema(self, table: keyed.KeyedTable) -> pa.Schema:
        return items.items_schema(table.columns)
