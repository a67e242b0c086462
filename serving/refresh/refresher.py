"""The refresher: micro-batches of log rows go into histories, profiles and vectors of their users."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from portrait.feature_repo.history.live_fold import fits, fold_rows
from portrait.feature_repo.history.logged_users import LoggedUsers
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.tail import LogRow, log_end, read_tail
from portrait.feature_repo.schemas import microseconds
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.fenced_writes import FencedWrites
from portrait.registry.errors import LeaseLost, Unavailable
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.refresh.counts import RefreshCounts
from portrait.serving.refresh.held_buckets import HeldBuckets
from portrait.training.encoding.encoding_times import encoding_times
from portrait.training.encoding.later_items import NewItems

log = logging.getLogger(__name__)

NOBODY = "\x00nobody"
BATCH_ROWS = 256
"""Rows of the log, and so at most users, in one micro-batch."""


@dataclass
class Refresher:
    """Takes the rows of the held buckets in order into the stores.

    Its own memory may be lost with the process: no position is settled before the work is done.
    """

    repo: FeatureRepo
    writes: FencedWrites
    encoders: EncoderCache
    held: HeldBuckets
    counts: RefreshCounts
    new_items: NewItems
    logged: LoggedUsers
    behind: list[tuple[int, list[str]]] = field(default_factory=list)  # users of buckets that were folded anew
    failing: dict[str, str] = field(default_factory=dict)  # versions that cannot be refreshed now, and why
    missed: set[str] = field(default_factory=set)  # versions that have missed some rows
    restoring: dict[int, int] = field(default_factory=dict)  # epochs of lost buckets whose vectors are not all back
    pressed: bool = False  # whether the last step left work for another one
    _calm: tuple[int, dict[int, int], dict[int, int]] | None = None  # end of log, epochs, positions with no work left

    def step(self, versions: Sequence[EmbeddingVersion], live: Sequence[EmbeddingVersion]) -> bool:
        """Bring the rows since the last step into the stores, at these versions; whether there was anything to do.

        Users of buckets that were folded anew follow a batch a step, at all `live` versions. Raises Unavailable when
        registry or store do not answer, LeaseLost when another shard holds a bucket. Then nothing is noted as done,
        and doing it again changes nothing.
        """
        epochs, applied = self.held.work()
        started = time.perf_counter()
        log_of = self.repo.log
        here = (log_end(log_of.database), epochs, applied)
        if here == self._calm:
            self.counts.spent("read log", started)
            return False
        tail = read_tail(log_of.database, log_of.home, applied, BATCH_ROWS, log_of.forgotten)
        self.counts.spent("read log", started)
        self.counts.backlog = tail.backlog
        profile = self.repo.profile_schema()
        unfit = {row.bucket for row in tail.rows if not fits(row, profile)}
        rows = [row for row in tail.rows if row.bucket not in unfit]
        if rows:
            self._apply(rows, tail.items, profile, epochs, versions)
        for bucket in (*tail.large, *unfit):
            self.fold_anew(bucket, applied[bucket], epochs[bucket])
        self.held.record_progress(tail.up_to | tail.large, epochs)
        self.pressed = bool(self.behind) or len(tail.rows) == BATCH_ROWS
        self._calm = here if not (self.behind or tail.backlog) else None
        if self.behind:
            self._catch_up(epochs, live)
            return True
        return bool(tail.up_to or tail.large)

    def fold_anew(self, bucket: int, beyond: int, epoch: int) -> int:
        """Publish the inputs of a bucket's users with rows beyond a position anew from the whole log.

        Their vectors follow a batch a step. Returns the position up to which the log was read.
        """
        users, up_to = self.repo.publish_bucket(bucket, beyond, epoch)
        self.behind.append((bucket, users))
        return up_to

    def put_back(self) -> bool:
        """Publish the inputs of the held buckets that the online store has lost; whether there were any.

        Raises as `step` does.
        """
        lost = self.held.lost()
        for bucket, epoch in lost.items():
            self.restoring[bucket] = epoch
            up_to = self.fold_anew(bucket, 0, epoch)
            self.held.put_back(bucket, epoch, up_to)
        return bool(lost)

    def ready(self, versions: Sequence[EmbeddingVersion]) -> None:
        """Load the encoders of these versions and check that their vectors can be written.

        Called before the first event, and again for versions that failed.
        """
        nobody = self.repo.read_inputs([NOBODY])
        for version in versions:
            with self._failing(version):
                encoder = self.encoders.get(version)
                self.new_items.bring(encoder)
                nothing = encoder.encode(nobody, np.zeros(1, np.int64))[:0]
                self.repo.require_writable(version, [], nothing)
                self.failing.pop(version.id, None)

    def forget(self, gone: Collection[str]) -> None:
        """Forget the failures of versions that are not live any more."""
        for version in gone:
            self.failing.pop(version, None)
        self.missed.difference_update(gone)

    def embed(self, users: Sequence[str], epochs: Mapping[int, int], versions: Sequence[EmbeddingVersion]) -> None:
        """Write vectors of users from their inputs in the online store, except for buckets that others hold."""
        mine = [user for user in users if bucket_of(user) in epochs]
        if mine:
            inputs = self._read_inputs(mine, epochs)
            self._write_vectors(inputs, inputs.column("position").to_numpy(), epochs, versions)
            self.repo.drop_forgotten(mine)

    def _apply(
        self,
        rows: Sequence[LogRow],
        items: int,
        profile: pa.Schema,
        epochs: Mapping[int, int],
        versions: Sequence[EmbeddingVersion],
    ) -> None:
        started = time.perf_counter()
        users = list(dict.fromkeys(row.user_id for row in rows))
        inputs = self._read_inputs(users, epochs)
        started = self.counts.spent("read inputs", started)
        now = time.time_ns() // 1000
        live = fold_rows(inputs, rows, profile.names, self.repo.settings.history_length, now)
        started = self.counts.spent("fold", started)
        # Inputs first: if the process is killed in between, the rows come again and are known.
        self.writes.write_inputs(live.changed, live.profiles, epochs)
        self.counts.spent("write inputs", started)
        self._write_vectors(live.table, live.position, epochs, versions, items, rows)
        self.counts.applied(rows, len(users))
        self.logged.note(users)

    def _read_inputs(self, users: Sequence[str], epochs: Mapping[int, int]) -> pa.Table:
        """The inputs of users; those whose rows have vanished from the store, by eviction say, are put back first.

        A user without a row is a new one, or one with rows in the log: folded from nothing, the latter's vector would
        know the newest event alone.
        """
        inputs = self.repo.read_inputs(users)
        blank = [user for user, at in zip(users, inputs.column("position").to_pylist(), strict=True) if at == 0]
        if not blank:
            return inputs
        vanished = self.logged.among(blank, epochs, self.held.work()[1])
        if not vanished:
            return inputs
        log.warning("%d users have vanished from the online store, and are put back from the log", len(vanished))
        by_bucket: dict[int, list[str]] = {}
        for user in vanished:
            by_bucket.setdefault(bucket_of(user), []).append(user)
        for bucket, some in by_bucket.items():
            self.repo.publish_bucket(bucket, 0, epochs[bucket], some)
        return self.repo.read_inputs(users)

    def _write_vectors(
        self,
        inputs: pa.Table,
        position: np.ndarray,
        epochs: Mapping[int, int],
        versions: Sequence[EmbeddingVersion],
        items: int | None = None,
        rows: Sequence[LogRow] = (),
    ) -> None:
        for version in versions:
            if version.id in self.failing:
                self.missed.add(version.id)
                continue
            with self._failing(version):
                self._write_at(version, inputs, position, epochs, items)
                self.counts.readable(version.id, rows)

    @contextmanager
    def _failing(self, version: EmbeddingVersion) -> Iterator[None]:
        """Record a failure of one version instead of raising it, so that the other versions go on."""
        try:
            yield
        except (LeaseLost, Unavailable):
            raise
        except Exception as error:  # a damaged artifact makes the readers of three formats raise anything
            if version.id not in self.failing:
                log.error("%s is not refreshed: %s", version.id, error)
            self.failing[version.id] = str(error)
            self.missed.add(version.id)

    def _write_at(
        self,
        version: EmbeddingVersion,
        inputs: pa.Table,
        position: np.ndarray,
        epochs: Mapping[int, int],
        items: int | None,
    ) -> None:
        started = time.perf_counter()
        encoder = self.encoders.get(version)
        # An item that was accepted before an event on it must count with the event.
        if items is None or encoder.items_position < items:
            self.new_items.bring(encoder)
        as_of = encoding_times(inputs, microseconds(version.as_of_floor))
        vectors = encoder.encode(inputs, as_of)
        started = self.counts.spent("encode", started)
        users, now = inputs.column("user_id").to_pylist(), time.time_ns() // 1000
        self.writes.write_vectors(version, users, vectors, position, as_of, now, epochs)
        self.counts.spent("write vectors", started)

    def _catch_up(self, epochs: Mapping[int, int], versions: Sequence[EmbeddingVersion]) -> None:
        """Embed the next users of a bucket that was folded anew, if their vectors trail their histories."""
        bucket, users = self.behind[-1]
        some, rest = users[:BATCH_ROWS], users[BATCH_ROWS:]
        if some and bucket in epochs:
            self._bring_up(some, epochs, versions)
        self.behind[-1:] = [(bucket, rest)] if rest and bucket in epochs else []
        if not rest and bucket in epochs and self.restoring.get(bucket) == epochs[bucket]:
            self.held.restore(bucket, self.restoring.pop(bucket))

    def _bring_up(self, some: Sequence[str], epochs: Mapping[int, int], versions: Sequence[EmbeddingVersion]) -> None:
        position, _ = self.repo.read_history_ends(some)
        for version in versions:
            stored = self.repo.read_vectors(version, some)
            floor = microseconds(version.as_of_floor)
            trailing = ~stored.found | (stored.position < position) | (stored.as_of < floor)
            self.embed([user for user, late in zip(some, trailing.tolist(), strict=True) if late], epochs, [version])
