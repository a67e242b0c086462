"""Backfill of all users: `backfill` beside a plain loop over the same encoder and `feast materialize`."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.instance import Instance
from benchmarks.rounds import Measurement, Ratio, Section, alternate, ratio
from benchmarks.threads import torch_threads
from portrait.feature_repo.declaration.views import view_name
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.feature_repo.schemas import microseconds
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.training.backfill.backfill import BucketEmbedder, backfill
from portrait.training.backfill.vectors_at_rest import bucket_file, write_vectors
from portrait.training.encoding.encoder import Encoder, load_encoder

AIM = 0.7
IN_PROCESS, BY_RAY = 10**9, 1  # ray_from_users


class OfflineRepo(FeatureRepo):
    """The seam to Feast without its online writes, which the plain loop has not either."""

    def write_vectors(self, _version: object, user_ids: list[str], *_columns: object) -> int:  # type: ignore[override]
        """Write nothing."""
        return len(user_ids)


class OfflineEmbedder(BucketEmbedder):
    """The embedder of a backfill, writing Parquet only."""

    @cached_property
    def _repo(self) -> FeatureRepo:
        return OfflineRepo(self._work.settings, self._registry, EventLog(self._registry.database, self._work.settings))


@dataclass(frozen=True)
class Pass:
    """A pass over all users, in seconds."""

    users: int
    seconds: float
    first_users: int = 0  # of the first bucket
    first_seconds: float = 0.0  # until it was done, start-up included

    @property
    def rate(self) -> float:
        return self.users / self.seconds

    @property
    def started_rate(self) -> float:
        """Users a second after the first bucket."""
        return (self.users - self.first_users) / (self.seconds - self.first_seconds)


@dataclass
class _Clock:
    """Listens to the progress of a backfill."""

    started: float = field(default_factory=time.perf_counter)
    first: tuple[int, float] | None = None

    def __call__(self, step: str, done: int, total: int, note: str = "") -> None:
        """Remember the first bucket."""
        if self.first is None:
            self.first = done, time.perf_counter()


def measure(instance: Instance, rounds: int) -> Section:
    """Users a second, each way on one compute thread; those of Ray Data with its start-up and without."""
    ensure_ray(instance.settings)
    with TemporaryDirectory(dir=instance.settings.home) as folder, torch_threads(1):
        contenders = _contenders(instance, Path(folder))
        for run in contenders.values():  # file caches, lazy imports
            run()
        passes = alternate(contenders, rounds)
    measured = {name: _measurement(name, [one.rate for one in each]) for name, each in passes.items()}
    for name in (HERE_OFFLINE, HERE, RAY_OFFLINE, RAY):
        started = f"{name}, after its start-up"
        measured[started] = _measurement(started, [one.started_rate for one in passes[name]])
    return Section("backfill", list(measured.values()), list(_ratios(measured)))


ENCODE, LOOP = "plain loop, encode only", "plain loop, with Parquet read and write"
HERE_OFFLINE, RAY_OFFLINE = "backfill in process, Parquet only", "backfill by Ray Data, Parquet only"
HERE, RAY = "backfill in process", "backfill by Ray Data"
MATERIALIZE = "feast materialize"


def _contenders(instance: Instance, folder: Path) -> dict[str, Callable[[], Pass]]:
    encoder = load_encoder(instance.settings.home / instance.version.artifact, instance.version.fingerprint)
    return {
        ENCODE: partial(_encode, instance, encoder),
        LOOP: partial(_loop, instance, encoder, folder),
        HERE_OFFLINE: partial(_offline, instance, IN_PROCESS),
        HERE: partial(_backfill, instance, IN_PROCESS),
        MATERIALIZE: partial(_materialize, instance),
        RAY_OFFLINE: partial(_offline, instance, BY_RAY),
        RAY: partial(_backfill, instance, BY_RAY),
    }


def _encode(instance: Instance, encoder: Encoder) -> Pass:
    snapshot = instance.snapshot
    tables = [snapshot.read(bucket) for bucket in sorted(snapshot.buckets)]
    as_of = microseconds(snapshot.as_of)
    started = time.perf_counter()
    for table in tables:
        encoder.encode(table, as_of)
    return Pass(snapshot.users, time.perf_counter() - started)


def _loop(instance: Instance, encoder: Encoder, folder: Path) -> Pass:
    snapshot, as_of = instance.snapshot, microseconds(instance.snapshot.as_of)
    started = time.perf_counter()
    for bucket in sorted(snapshot.buckets):
        users = snapshot.read(bucket)
        vectors = encoder.encode(users, as_of)
        position = users.column("position").to_numpy()
        file, ids = bucket_file(folder, bucket), users.column("user_id")
        write_vectors(snapshot.home, file, ids, vectors, position, as_of, as_of)
    return Pass(snapshot.users, time.perf_counter() - started)


def _offline(instance: Instance, ray_from_users: int) -> Pass:
    with patch("portrait.training.backfill.backfill.BucketEmbedder", OfflineEmbedder):
        return _run(instance, ray_from_users)


def _backfill(instance: Instance, ray_from_users: int) -> Pass:
    _forget(instance)
    return _run(instance, ray_from_users)


def _run(instance: Instance, ray_from_users: int) -> Pass:
    settings = instance.settings.model_copy(update={"ray_from_users": ray_from_users, "backfill_workers": 1})
    clock = _Clock()
    report = backfill(instance.portrait.repo, instance.version.id, settings, progress=clock)
    assert clock.first is not None
    users, moment = clock.first
    return Pass(report.embedded, report.seconds, users, moment - clock.started)


def _materialize(instance: Instance) -> Pass:
    """What `feast materialize` runs: the offline Parquet of the last backfill into the online store."""
    _forget(instance)
    as_of, day = instance.snapshot.as_of, timedelta(days=1)
    started = time.perf_counter()
    instance.portrait.repo.feast.materialize(as_of - day, as_of + day, [view_name(instance.version.id)])
    seconds = time.perf_counter() - started
    written = instance.portrait.repo.count_vectors(instance.version)
    assert written == instance.snapshot.users, f"feast materialize wrote {written} of {instance.snapshot.users} users"
    return Pass(written, seconds)


def _forget(instance: Instance) -> None:
    """Empty the version's online table, so that every write is one that wins."""
    repo = instance.portrait.repo
    view = repo.feast.get_feature_view(view_name(instance.version.id))
    online: Any = repo.online  # Feast's own method, which our Protocol has not
    online.update(repo.config, [view], [], [], [], partial=False)
    online.update(repo.config, [], [view], [], [], partial=False)


def _measurement(name: str, rates: list[float]) -> Measurement:
    return Measurement(name, "users/s", tuple(rates))


def _ratios(by_name: dict[str, Measurement]) -> Iterator[Ratio]:
    loop, materialize = by_name[LOOP], by_name[MATERIALIZE]
    for name in (HERE_OFFLINE, RAY_OFFLINE):
        yield ratio(f"{name}, after start-up / plain loop", by_name[f"{name}, after its start-up"], loop, AIM)
        yield ratio(f"{name}, whole pass / plain loop", by_name[name], loop)
    for name in (HERE, RAY):  # reads, encodes and writes twice, where materialize writes once
        yield ratio(f"{name}, after start-up / feast materialize", by_name[f"{name}, after its start-up"], materialize)
        yield ratio(f"{name}, whole pass / feast materialize", by_name[name], materialize)
