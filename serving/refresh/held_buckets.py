"""The buckets that a shard holds, and the positions that it has reached in each."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from portrait.feature_repo.log.leases import Lease, Leases
from portrait.feature_repo.store.fenced_writes import FencedWrites
from portrait.registry.errors import LeaseLost, PortraitError

DOUBT_SECONDS = 10.0
"""Writes of the last seconds may be lost with the online store's machine. So a position counts as settled only after
this time, and after a change of holder or an outage the work restarts from there: doing it twice changes nothing."""


class HeldBuckets:
    """The leases of a shard with the positions reached; `renew` runs beside the work, which takes a copy.

    Each bucket has three positions: the rows applied at the eagerly refreshed versions, those applied also at the
    versions refreshed in batches, and those of them that are settled.
    """

    def __init__(
        self,
        leases: Leases,
        writes: FencedWrites,
        shards: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._writes = writes
        self._shards = shards
        self._clock = clock
        self._lock, self._renewing = threading.Lock(), threading.Lock()
        self._held: dict[int, Lease] = {}
        self._epochs: dict[int, int] = {}
        self._refence = False  # the store may have lost the fences with its last writes
        self._lost: set[int] = set()  # buckets whose rows have to be put back before new ones are folded
        self._applied: dict[int, int] = {}
        self._lazily: dict[int, int] = {}
        self._reached: dict[int, int] = {}  # `_lazily` at the last `settle`; the next one settles it
        self._settled: dict[int, int] = {}
        self._settled_at = clock()
        self._noted: dict[int, int] = {}  # what the leases say
        self._noted_settled: dict[int, int] = {}

    @property
    def epochs(self) -> dict[int, int]:
        """The epoch of each bucket held now."""
        with self._lock:
            return dict(self._epochs)

    def work(self) -> tuple[dict[int, int], dict[int, int]]:
        """The epochs and the applied positions by bucket, in the order in which the buckets take turns.

        Without the buckets whose rows the online store has lost: there the fold would begin from nothing.
        """
        with self._lock:
            applied = {bucket: position for bucket, position in self._applied.items() if bucket not in self._lost}
            return {bucket: self._epochs[bucket] for bucket in applied}, applied

    def lost(self) -> dict[int, int]:
        """The epochs of the held buckets whose rows the online store has lost."""
        with self._lock:
            return {bucket: self._epochs[bucket] for bucket in sorted(self._lost)}

    def put_back(self, bucket: int, epoch: int, position: int) -> None:
        """Note that the inputs of a lost bucket are back up to a position; its rows are folded from there on."""
        self.record_progress({bucket: position}, {bucket: epoch})
        with self._lock:
            if self._epochs.get(bucket) == epoch:
                self._lost.discard(bucket)

    def restore(self, bucket: int, epoch: int) -> None:
        """Note that the vectors of a lost bucket are back too; raises LeaseLost."""
        self._leases.restore(bucket, epoch)

    def work_in_batches(self) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
        """The epochs, the applied positions, and those applied at the versions refreshed in batches, by bucket."""
        with self._lock:
            return dict(self._epochs), dict(self._applied), dict(self._lazily)

    def leases(self) -> dict[int, Lease]:
        """The leases held now, with the broker's positions that `record_stream_positions` noted last."""
        with self._lock:
            return dict(self._held)

    def record_stream_positions(self, positions: Mapping[int, str]) -> None:
        """Remember the position up to which each stream is in the inbox; the leases in the database have it already."""
        with self._lock:
            for bucket, position in positions.items():
                if bucket in self._held:
                    self._held[bucket] = replace(self._held[bucket], stream_id=position)

    def record_progress(self, positions: Mapping[int, int], epochs: Mapping[int, int], lazily: bool = False) -> None:
        """Remember progress made under these epochs, except for buckets whose lease has changed meanwhile."""
        with self._lock:
            table = self._lazily if lazily else self._applied
            for bucket, position in positions.items():
                if bucket in self._epochs and self._epochs[bucket] == epochs.get(bucket):
                    table.pop(bucket, None)  # to the end of the line
                    table[bucket] = position

    def settle(self) -> None:
        """Settle the positions that were applied at every version at the last call; call it now and then."""
        now = self._clock()
        with self._lock:
            if now - self._settled_at >= DOUBT_SECONDS:
                self._settled |= self._reached
                self._reached, self._settled_at = dict(self._lazily), now

    def fence_anew(self) -> None:
        """Raise the fences of all held buckets at the next renewal: the store may have lost them."""
        with self._lock:
            self._refence = True

    def rewind(self, lazily: bool = False) -> None:
        """Go back to the settled position of every bucket; with `lazily` only at the versions refreshed in batches."""
        with self._lock:
            self._refence |= not lazily
            self._lazily = dict(self._settled)
            self._reached = dict(self._settled)
            if not lazily:
                self._applied = dict(self._settled)

    def renew(self) -> None:
        """Prolong the leases, note the progress, and take or give back buckets until all shards have equal shares.

        Raises Unavailable when registry or store do not answer; a bucket whose fence could not be raised is not held.
        """
        with self._renewing:
            share = -(-self._leases.buckets // max(self._shards(), 1))
            held = self._leases.hold(share, self.epochs)
            with self._lock:
                for bucket in self._epochs.keys() - held.keys():
                    self._drop(bucket)
                new = {b: lease for b, lease in held.items() if self._epochs.get(b) != lease.epoch}
                fenced, self._refence = held if self._refence else new, False
            if fenced:
                self._raise_fences(fenced)
            if new:
                self._take(new)
            self.note()

    def _raise_fences(self, leases: Mapping[int, Lease]) -> None:
        try:
            self._writes.raise_fences({bucket: lease.epoch for bucket, lease in leases.items()})
        except PortraitError:
            self.fence_anew()
            raise

    def note(self) -> None:
        """Write the positions reached into the leases."""
        with self._lock:
            epochs = dict(self._epochs)
            applied = {b: p for b, p in self._applied.items() if p > self._noted[b]}
            settled = {b: p for b, p in self._settled.items() if p > self._noted_settled[b]}
        for positions, noted, lazily in ((applied, self._noted, False), (settled, self._noted_settled, True)):
            if positions:
                self._leases.advance(epochs, positions, lazily)
                with self._lock:
                    noted.update({b: p for b, p in positions.items() if self._epochs.get(b) == epochs[b]})

    def give_back(self) -> None:
        """Note the positions reached, and give all buckets back."""
        with suppress(LeaseLost):  # then the new holder repeats the work
            self.note()
        self._leases.give_back(self.epochs)
        with self._lock:
            for bucket in list(self._epochs):
                self._drop(bucket)

    def _take(self, new: Mapping[int, Lease]) -> None:
        with self._lock:
            for bucket, lease in new.items():
                self._held[bucket] = lease
                self._epochs[bucket] = lease.epoch
                (self._lost.add if lease.lost else self._lost.discard)(bucket)
                start = min(lease.applied, lease.applied_lazily)
                for table in (self._applied, self._lazily, self._reached, self._settled, self._noted_settled):
                    table[bucket] = start
                self._noted[bucket] = lease.applied

    def _drop(self, bucket: int) -> None:
        self._held.pop(bucket, None)
        self._lost.discard(bucket)
        for table in (self._epochs, self._applied, self._lazily, self._reached, self._settled):
            table.pop(bucket, None)
        self._noted.pop(bucket, None)
        self._noted_settled.pop(bucket, None)
