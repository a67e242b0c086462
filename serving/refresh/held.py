"""The buckets that a shard holds, and how far it has come in each."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import func, select

from feature_repo.fresh import FreshWrites
from feature_repo.log.leases import Lease, Leases
from feature_repo.log.partition import BUCKETS
from feature_repo.log.tables import InboxRow
from registry.database import Database
from registry.registry import Registry

REWIND = timedelta(seconds=60)
"""What was applied so lately is applied again after a change of hands or an outage of the online store: a store may
lose its last second when its machine fails, and doing it twice changes nothing."""


class HeldBuckets:
    """Leases with the positions that their holder has come to; `renew` runs beside the work, which takes a copy."""

    def __init__(self, registry: Registry, leases: Leases, writes: FreshWrites, shards: Callable[[], int]) -> None:
        self._database: Database = registry.database
        self._leases = leases
        self._writes = writes
        self._shards = shards
        self._lock, self._renewing = threading.Lock(), threading.Lock()
        self._held: dict[int, Lease] = {}
        self._epochs: dict[int, int] = {}
        self._applied: dict[int, int] = {}
        self._lazily: dict[int, int] = {}
        self._noted: dict[int, int] = {}  # what the leases say
        self._noted_lazily: dict[int, int] = {}

    @property
    def epochs(self) -> dict[int, int]:
        """Epoch by bucket, of those held now."""
        with self._lock:
            return dict(self._epochs)

    def applied(self) -> dict[int, int]:
        """Position by bucket, in the order in which they should have their turn."""
        with self._lock:
            return dict(self._applied)

    def applied_lazily(self) -> dict[int, int]:
        """The same of the versions that are refreshed in batches."""
        with self._lock:
            return dict(self._lazily)

    def leases(self) -> dict[int, Lease]:
        """The leases held now, with the broker's positions as last noted by `read_to`."""
        with self._lock:
            return dict(self._held)

    def read_to(self, positions: Mapping[int, str]) -> None:
        """Remember up to where streams are in the inbox; the leases in the database say so already."""
        with self._lock:
            for bucket, position in positions.items():
                if bucket in self._held:
                    self._held[bucket] = replace(self._held[bucket], stream_id=position)

    def came_to(self, positions: Mapping[int, int], epochs: Mapping[int, int], lazily: bool = False) -> None:
        """Note progress made under these epochs; buckets that have changed hands meanwhile are left out."""
        with self._lock:
            table = self._lazily if lazily else self._applied
            for bucket, position in positions.items():
                if self._epochs.get(bucket) == epochs.get(bucket):
                    table.pop(bucket, None)  # to the end of the line
                    table[bucket] = position

    def renew(self) -> None:
        """Prolong the leases, note the progress, and take or leave buckets until they are shared fairly.

        Raises Unavailable when registry or store do not answer; buckets whose fence could not be raised are not held.
        """
        with self._renewing:
            share = -(-BUCKETS // max(self._shards(), 1))
            held = self._leases.hold(share, self.epochs)
            with self._lock:
                for bucket in self._epochs.keys() - held.keys():
                    self._drop(bucket)
                new = {b: lease for b, lease in held.items() if self._epochs.get(b) != lease.epoch}
            if new:
                self._writes.raise_fences({bucket: lease.epoch for bucket, lease in new.items()})
                self._take(new)
            self.note()

    def note(self) -> None:
        """Write down how far the work has come."""
        with self._lock:
            epochs = dict(self._epochs)
            applied = {b: p for b, p in self._applied.items() if p > self._noted[b]}
            lazily = {b: p for b, p in self._lazily.items() if p > self._noted_lazily[b]}
        for positions, noted, lazy in ((applied, self._noted, False), (lazily, self._noted_lazily, True)):
            if positions:
                self._leases.advance(epochs, positions, lazy)
                with self._lock:
                    noted.update({b: p for b, p in positions.items() if b in self._epochs})

    def rewind(self) -> None:
        """Go back a little in every bucket."""
        epochs = self.epochs
        starts = self._recent(epochs)
        with self._lock:
            for bucket, position in starts.items():
                if bucket in self._applied:
                    self._applied[bucket] = min(self._applied[bucket], position)

    def give_back(self) -> None:
        """Leave all buckets, with what was done noted."""
        self.note()
        self._leases.give_back(self.epochs)
        with self._lock:
            for bucket in list(self._epochs):
                self._drop(bucket)

    def _take(self, new: Mapping[int, Lease]) -> None:
        starts = self._recent(new)
        with self._lock:
            for bucket, lease in new.items():
                self._held[bucket] = lease
                self._epochs[bucket] = lease.epoch
                self._applied[bucket] = min(lease.applied, starts.get(bucket, lease.applied))
                self._lazily[bucket] = lease.applied_lazily
                self._noted[bucket], self._noted_lazily[bucket] = lease.applied, lease.applied_lazily

    def _drop(self, bucket: int) -> None:
        self._held.pop(bucket, None)
        for table in (self._epochs, self._applied, self._lazily, self._noted, self._noted_lazily):
            table.pop(bucket, None)

    def _recent(self, buckets: Mapping[int, object]) -> dict[int, int]:
        """Positions before the first row of the inbox that was accepted lately."""
        with self._database.reading() as session:
            newest = session.scalar(select(func.max(InboxRow.accepted_at))) or 0
            since = newest - REWIND // timedelta(microseconds=1)
            statement = (
                select(InboxRow.bucket, func.min(InboxRow.position))
                .where(InboxRow.bucket.in_(list(buckets)), InboxRow.accepted_at >= since)
                .group_by(InboxRow.bucket)
            )
            return {bucket: position - 1 for bucket, position in session.execute(statement)}
