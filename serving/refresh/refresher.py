"""One micro-batch of the refresh: rows of the log into histories, profiles and vectors of their users."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_repo.fresh import FreshWrites
from feature_repo.live_inputs import folded
from feature_repo.log.partition import bucket_of
from feature_repo.log.tail import LogRow, Tail, read_tail
from feature_repo.schemas import microseconds
from feature_repo.store import FeatureRepo
from registry.errors import Conflict, InvalidInput, LeaseLost, NotFound
from registry.records import EmbeddingVersion
from serving.encoders import EncoderCache
from serving.refresh.counts import Counts
from serving.refresh.held import HeldBuckets
from training.moments import encoding_times

log = logging.getLogger(__name__)

NOBODY = "\x00nobody"
BATCH_ROWS = 256
"""Rows of the log, and so at most users, in one micro-batch."""


@dataclass
class Refresher:
    """Takes the rows of the held buckets in order; all state but `behind` is in the stores."""

    repo: FeatureRepo
    writes: FreshWrites
    encoders: EncoderCache
    held: HeldBuckets
    counts: Counts
    behind: list[tuple[int, list[str]]] = field(default_factory=list)  # users of buckets that were folded anew
    failing: dict[str, str] = field(default_factory=dict)  # versions that cannot be refreshed, and why

    def step(self, versions: Sequence[EmbeddingVersion]) -> bool:
        """Take what has come since the last step to the stores, at these versions; whether there was anything.

        Raises Unavailable when registry or store do not answer, LeaseLost when a bucket is in other hands. Then nothing
        is noted as done, and doing it again changes nothing.
        """
        epochs, applied = self.held.epochs, self.held.applied()
        started = time.perf_counter()
        tail = read_tail(self.repo.log.database, self.repo.log.home, applied, BATCH_ROWS)
        self.counts.spent("read log", started)
        self.counts.backlog = tail.backlog
        if tail.rows:
            self._apply(tail, epochs, versions)
        if tail.up_to:
            self.held.came_to(tail.up_to, epochs)
        for bucket, end in tail.large.items():
            users, _ = self.repo.publish_bucket(bucket, applied[bucket], epochs[bucket])
            self.behind.append((bucket, users))
            self.held.came_to({bucket: end}, epochs)
        if not tail.rows and self.behind:
            self._catch_up(epochs, versions)
            return True
        return bool(tail.up_to or tail.large)

    def warm(self, versions: Sequence[EmbeddingVersion]) -> None:
        """Load what refreshing at these versions needs, so that the first event does not wait for it."""
        nobody = self.repo.read_inputs([NOBODY])
        for version in versions:
            try:
                nothing = self.encoders.get(version).encode(nobody, 0)[:0]
                self.repo.require_writable(version, [], nothing)
            except (InvalidInput, NotFound, Conflict, OSError) as error:
                log.error("%s cannot be refreshed: %s", version.id, error)

    def embed(self, users: Sequence[str], epochs: Mapping[int, int], versions: Sequence[EmbeddingVersion]) -> None:
        """Vectors of users from what the online store knows of them; those of other hands are left out."""
        mine = [user for user in users if bucket_of(user) in epochs]
        if mine:
            inputs = self.repo.read_inputs(mine)
            self._write_vectors(inputs, inputs.column("position").to_numpy(), epochs, versions)
            self.repo.drop_forgotten(mine)

    def _apply(self, tail: Tail, epochs: Mapping[int, int], versions: Sequence[EmbeddingVersion]) -> None:
        started = time.perf_counter()
        users = list(dict.fromkeys(row.user_id for row in tail.rows))
        inputs = self.repo.read_inputs(users)
        started = self.counts.spent("read inputs", started)
        now = time.time_ns() // 1000
        live = folded(inputs, tail.rows, self.repo.profile_columns(), self.repo.settings.history_length, now)
        started = self.counts.spent("fold", started)
        # Inputs first: killed in between, the rows come again, and are known.
        self.writes.write_inputs(live.changed, live.profiles, epochs)
        self.counts.spent("write inputs", started)
        self._write_vectors(live.table, live.position, epochs, versions, tail.rows)
        self.repo.drop_forgotten(users)
        self.counts.applied(tail.rows, len(users))

    def _write_vectors(
        self,
        inputs: pa.Table,
        position: np.ndarray,
        epochs: Mapping[int, int],
        versions: Sequence[EmbeddingVersion],
        rows: Sequence[LogRow] = (),
    ) -> None:
        for version in versions:
            try:
                self._write_at(version, inputs, position, epochs)
            except LeaseLost:
                raise
            except (InvalidInput, NotFound, Conflict, OSError) as error:
                # One version's artifact that is gone or changed must not keep the others from following.
                if version.id not in self.failing:
                    log.error("%s is not refreshed: %s", version.id, error)
                self.failing[version.id] = str(error)
                continue
            self.failing.pop(version.id, None)
            self.counts.readable(version.id, rows)

    def _write_at(
        self, version: EmbeddingVersion, inputs: pa.Table, position: np.ndarray, epochs: Mapping[int, int]
    ) -> None:
        started = time.perf_counter()
        encoder = self.encoders.get(version)
        as_of = encoding_times(inputs, microseconds(version.as_of_floor))
        vectors = encoder.encode(inputs, as_of)
        started = self.counts.spent("encode", started)
        users, now = inputs.column("user_id").to_pylist(), time.time_ns() // 1000
        self.writes.write_vectors(version, users, vectors, position, as_of, now, epochs)
        self.counts.spent("write vectors", started)

    def _catch_up(self, epochs: Mapping[int, int], versions: Sequence[EmbeddingVersion]) -> None:
        """Some of the users of buckets that were folded anew: those whose vectors trail their histories."""
        bucket, users = self.behind.pop()
        some, rest = users[:BATCH_ROWS], users[BATCH_ROWS:]
        if rest:
            self.behind.append((bucket, rest))
        if bucket not in epochs:
            return
        position, _ = self.repo.read_newest(some)
        for version in versions:
            stored = self.repo.read_vectors(version, some)
            trailing = ~stored.found | (stored.position < position)
            self.embed([user for user, late in zip(some, trailing.tolist(), strict=True) if late], epochs, [version])
