"""An events file on its way into the log."""

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from portrait.feature_repo.ingest import event_files as events
from portrait.feature_repo.ingest.arrival import Arrival, Judging
from portrait.feature_repo.ingest.ingest_report import TableReport
from portrait.feature_repo.ingest.rejects import Rejects
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.duck import Duck, scalar
from portrait.feature_repo.log.manifest import Segment
from portrait.feature_repo.log.partition import BUCKETS

ALL_BUCKETS = frozenset(range(BUCKETS))


class EventsArrival(Arrival):
    """An events file."""

    def __init__(self, duck: Duck, home: Path, ingest: str, source: Source, now: datetime) -> None:
        super().__init__(duck, home, ingest, source, now)
        with self.reading():
            events.stage_events(duck, source, now)
        self._own_ids = events.has_own_ids(duck)
        self._groups = events.groups_of(duck)
        self._judged: dict[events.Group, events.Judged] = {}

    def judge(self, judging: Judging) -> None:
        """Group by group; again only those with a moved bucket, or all when ids can be another user's."""
        manifest, moved, progress = judging.manifest, judging.moved, judging.progress
        self._refuse_forgotten("staged_events", judging.forgotten)
        if self._own_ids:
            events.note_foreign_ids(self.duck, self.home, manifest)
            moved = None
        again = [g for g in self._groups if moved is None or not {*moved}.isdisjoint(g.buckets)]
        for done, group in enumerate(again):
            progress("write events", done, len(again))
            if group in self._judged:
                self.discard(self._judged[group].segments)
            self._judged[group] = events.judge_and_write(self.duck, self.home, self.ingest, group, manifest)
        progress("write events", len(again), len(again))

    @property
    def segments(self) -> list[Segment]:
        """One a bucket with new events."""
        return [segment for judged in self._judged.values() for segment in judged.segments]

    @property
    def guarded(self) -> Collection[int]:
        """All buckets when the file brings ids of its own, else those that it writes to."""
        return ALL_BUCKETS if self._own_ids else {segment.bucket for segment in self.segments}

    @property
    def rejected(self) -> str:
        """Rows that are bad by themselves, and rows with another event's id."""
        return (
            "(SELECT row, reason FROM staged_events WHERE reason IS NOT NULL "
            f"UNION ALL SELECT row, '{events.TAKEN}' FROM taken_rows)"
        )

    def report(self, rejects: Rejects) -> TableReport:
        """Counts of the events file."""
        judged = self._judged.values()
        return TableReport(
            file=self.source.path,
            read=scalar(self.duck, "SELECT count(*) FROM staged_events") + self._malformed(),
            accepted=sum(group.accepted for group in judged),
            duplicates=sum(group.duplicates for group in judged),
            rejected=rejects.counts,
            rejects=rejects.path,
        )
