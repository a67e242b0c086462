"""Backfill: embed all users of a snapshot at one version, offline and online, in one pass.

A bucket is the unit of work and of resuming: its vectors go to one Parquet file and to the online store, then its
number is recorded. Done twice it changes nothing: the same snapshot gives the same vectors, and a write to the online
store wins only when it is newer. A pass over stale users alone embeds those without a vector, those with newer events,
and those for whom an event has crossed the edge of a window.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import pyarrow as pa

from portrait.feature_repo.history.snapshot import recount_users
from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot, load_snapshot
from portrait.feature_repo.log.event_log import TICK, EventLog
from portrait.feature_repo.log.rewriting import strike_forgotten
from portrait.feature_repo.schemas import microseconds
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import TeamJoins, join_teams, read_inputs_offline
from portrait.registry.database.tables import LIVE_STATES
from portrait.registry.errors import Conflict
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import Backfill, EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.serving_state.replicas import SHARDS
from portrait.registry.serving_state.serving_state import read_generation
from portrait.training.backfill.vectors_at_rest import bucket_file, stale_folder, version_folder, write_vectors
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.encoding.encoding_times import encoding_times
from portrait.training.encoding.later_items import NewItems
from portrait.training.runs.parallel_jobs import on_ray
from portrait.training.settings import TrainingSettings

DAY = 86_400_000_000
"""Microseconds of a day."""


def windows_moved(users: pa.Table, since: np.ndarray, as_of: int, window_days: Sequence[int]) -> np.ndarray:
    """Bool [n]: whether an event of the user's history entered or left a window between `since` and `as_of`.

    `since` int64 [n] and `as_of` are microseconds. An event at t is inside the window of w days as of T when
    T - w days <= t < T, so it has entered between S and T when S <= t < T, and left when S <= t + w days < T.
    """
    times = users.column("event_times").combine_chunks()
    counts = np.diff(times.offsets.to_numpy())
    owner = np.repeat(np.arange(len(users)), counts)
    moments = times.flatten().to_numpy()
    moved = np.zeros(len(users), dtype=bool)
    for days in (0, *window_days):
        passed = moments + days * DAY
        moved[owner[(since[owner] <= passed) & (passed < as_of)]] = True
    return moved


SHARD_SECONDS = 30.0
"""How long a backfill waits for the refresh shards; one that has been silent for as long counts as gone."""


@dataclass(frozen=True)
class BackfillReport:
    """Counts and times of one pass."""

    version: str
    snapshot: str
    as_of: datetime
    users: int
    embedded: int  # users encoded now; the others were done by an earlier, interrupted pass or are not stale
    written_online: int  # vectors that were newer than what the online store had
    seconds: float

    @property
    def users_per_second(self) -> float:
        """Encoded users a second, over the whole pass."""
        return self.embedded / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Pass:
    """The settings of one pass, sent to every worker."""

    settings: TrainingSettings
    version: str
    snapshot: str
    backfill: int
    stale_only: bool
    joins: TeamJoins  # the same for all workers, also when a team's file changes meanwhile


class BucketEmbedder:
    """Embeds one bucket after the other; lives in this process or as an actor of a Ray Data pool."""

    def __init__(self, work: Pass) -> None:
        self._work = work
        self._registry = Registry.open(work.settings.database_url)
        self._version = self._registry.versions.get(work.version)

    @cached_property
    def _repo(self) -> FeatureRepo:
        return FeatureRepo(self._work.settings, self._registry, EventLog(self._registry.database, self._work.settings))

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self._work.settings.home / self._version.artifact, self._version.fingerprint)

    @cached_property
    def _new_items(self) -> NewItems:
        return NewItems(self._repo.log)

    @cached_property
    def _snapshot(self) -> Snapshot:
        return load_snapshot(self._work.settings.home, self._work.snapshot)

    def embed(self, bucket: int) -> tuple[int, int]:
        """Embed a bucket: (users encoded, vectors that won online)."""
        home = self._work.settings.home
        users = read_inputs_offline(self._repo, self._snapshot, bucket, self._work.joins)
        checked = len(users)
        as_of = microseconds(self._snapshot.as_of)
        folder = version_folder(home, self._version.id) / self._snapshot.id
        if self._work.stale_only:
            stored = self._repo.read_vectors(self._version, users.column("user_id").to_pylist())
            moved = windows_moved(users, stored.as_of, as_of, self._encoder.window_days)
            behind = ~stored.found | (stored.position < users.column("position").to_numpy())
            users = users.filter(moved | behind)
            folder = stale_folder(folder)
        computed_at = time.time_ns() // 1000
        self._new_items.bring(self._encoder)
        vectors = self._encoder.encode(users, as_of)
        position = users.column("position").to_numpy()
        user_ids = users.column("user_id")
        # Online first: it refuses a version that has begun to retire meanwhile, and then no file is left behind.
        written = self._repo.write_vectors(
            self._version, user_ids.to_pylist(), vectors, position, np.full(len(users), as_of), computed_at
        )
        self._bring_forward(user_ids.to_pylist(), written, as_of)
        file = bucket_file(folder, bucket)
        write_vectors(home, file, user_ids, vectors, position, as_of, computed_at)
        strike_forgotten(self._repo.log, [file])
        self._registry.backfills.bucket_done(self._work.backfill, bucket, checked)
        return len(users), written

    def _bring_forward(self, user_ids: list[str], written: int, as_of: int) -> None:
        """Embed again, as of this pass, users whom the refresh has embedded from more events but as of an earlier time.

        From here on the refresh encodes as of this pass by itself, as it has seen that the pass has begun.
        """
        if written == len(user_ids):
            return
        earlier = self._repo.read_vectors(self._version, user_ids).as_of < as_of
        behind = [user for user, is_earlier in zip(user_ids, earlier.tolist(), strict=True) if is_earlier]
        if behind:
            inputs = self._repo.read_inputs(behind)
            times = encoding_times(inputs, as_of)
            position, computed_at = inputs.column("position").to_numpy(), time.time_ns() // 1000
            vectors = self._encoder.encode(inputs, times)
            self._repo.write_vectors(self._version, behind, vectors, position, times, computed_at)

    def close(self) -> None:
        """Give back the connections to the databases."""
        if "_repo" in self.__dict__:
            self._repo.close()
        self._registry.close()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Ray Data's way to call `embed`: a batch with a column `bucket`."""
        done = np.array([self.embed(int(bucket)) for bucket in batch["bucket"]])
        return {"bucket": batch["bucket"], "embedded": done[:, 0], "written": done[:, 1]}


def backfill(
    repo: FeatureRepo,
    version_id: str,
    settings: TrainingSettings,
    as_of: datetime | None = None,
    stale_only: bool = False,
    progress: Progress | None = None,
) -> BackfillReport:
    """Embed all users as of a time (default: just after the newest event) at a version.

    With `stale_only`, only users without a vector and those for whom an event has left a window since their vector was
    computed are embedded. An interrupted pass goes on after its last finished bucket; a finished one is done again.

    Raises NotFound for an unknown version, Conflict for one that is retiring, retired or failed, InvalidInput for a
    team's view that the version reads and whose files cannot be joined.
    """
    started = time.perf_counter()
    registry = repo.registry
    version = registry.versions.get(version_id)
    if version.state not in LIVE_STATES:
        raise Conflict(f"version {version.id} is {version.state}: only live versions can be backfilled")
    repo.identity.attest()
    # The refresh takes the events from now on, the snapshot holds those before: none falls between the two.
    _await_shards(registry, registry.backfills.announce(version.id), version.id, progress or silent)
    snapshot = _snapshot(repo.log, version, as_of)
    joins = join_teams(repo, snapshot, version.team_fields)
    record = registry.backfills.begin(version.id, snapshot.id, snapshot.as_of, snapshot.users)
    _await_shards(registry, read_generation(registry.database), version.id, progress or silent)
    work = Pass(settings, version.id, snapshot.id, record.id, stale_only, joins)
    todo = _buckets_to_do(snapshot, record)
    done = snapshot.users - sum(snapshot.buckets[bucket] for bucket in todo)
    embedded = written = 0
    for bucket, in_bucket, won in _embed_all(work, todo, settings, snapshot.users):
        done, embedded, written = done + snapshot.buckets[bucket], embedded + in_bucket, written + won
        if progress:
            progress(f"embedding at {version.id}", done, snapshot.users)
    repo.identity.attest()  # the vectors count as online from now on, so a store without them is seen
    registry.backfills.finish(record.id, recount_users(snapshot).buckets)
    seconds = time.perf_counter() - started
    return BackfillReport(version.id, snapshot.id, snapshot.as_of, snapshot.users, embedded, written, seconds)


def _snapshot(log: EventLog, version: EmbeddingVersion, as_of: datetime | None) -> Snapshot:
    """The snapshot to embed; later than the last backfill where a team may have corrected its values since.

    Of two vectors with the same events and as-of the stored one stays.
    """
    snapshot, last = cut_snapshot(log, as_of), version.last_as_of
    if as_of is None and version.team_fields and last is not None and snapshot.as_of <= last:
        return cut_snapshot(log, last + TICK)
    return snapshot


def _await_shards(registry: Registry, generation: int, version: str, progress: Progress) -> None:
    behind = registry.replicas.wait(generation, SHARD_SECONDS, roles=SHARDS, progress=progress)
    if behind:
        names = ", ".join(f"{replica.id} on {replica.host}" for replica in behind)
        raise Conflict(
            f"the refresh shards {names} do not follow the registry: stop them, or run `portrait backfill {version}` "
            "again when they do"
        )


def _buckets_to_do(snapshot: Snapshot, record: Backfill) -> list[int]:
    finished = set() if record.finished_at else {int(bucket) for bucket in record.buckets_done}
    return [bucket for bucket in sorted(snapshot.buckets) if bucket not in finished]


def _embed_all(
    work: Pass, buckets: list[int], settings: TrainingSettings, users: int
) -> Iterator[tuple[int, int, int]]:
    """(bucket, users encoded, vectors that won online) of each bucket, as they finish."""
    if users < settings.ray_from_users:  # starting a pool costs more than so few users
        with closing(BucketEmbedder(work)) as embedder:
            for bucket in buckets:
                yield (bucket, *embedder.embed(bucket))
        return
    for row in on_ray(BucketEmbedder, work, buckets, settings):
        yield int(row["bucket"]), int(row["embedded"]), int(row["written"])
