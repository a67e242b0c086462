"""The measured instance: generated users in a home of its own, with one backfilled version."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks.postgres import fresh_database
from benchmarks.threads import torch_threads
from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot
from portrait.infra import generator
from portrait.infra.jobs.versions import take_in, train_version
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.registry.errors import InvalidInput
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.backfill.backfill import backfill

CONSUMER = "benchmark"


@dataclass(frozen=True)
class Instance:
    """An instance whose consumer `benchmark` reads `version`, of which every user has a stored vector."""

    portrait: Portrait
    version: EmbeddingVersion
    snapshot: Snapshot
    user_ids: list[str]

    @property
    def settings(self) -> Settings:
        return self.portrait.settings


@contextmanager
def instance(users: int, online: str, registry: str = "", versions: int = 1) -> Iterator[Instance]:
    """Generate, ingest, train briefly, embed and promote; everything is removed afterwards.

    Beside the version that is read, further live ones make up `versions`: their vectors fill the same store.
    `online` is the URL of a Redis database that is empty, or empty text for SQLite; `registry` the URL of a Postgres
    server that lends a database of its own, or empty text for SQLite. Raises InvalidInput for a Redis database that is
    not empty: it would be flushed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="portrait-benchmark-") as folder,
        _empty(online),
        fresh_database(registry) if registry else nullcontext("") as database,
    ):
        # Whatever the environment says, no server of somebody's instance is touched.
        settings = Settings(
            home=Path(folder),
            registry_url=database,
            feast_registry_url="",
            online_store_url=online,
            broker_url="",
            ray_address="",
        )
        with Portrait.prepare(settings) as portrait:
            yield _built(portrait, users, versions)


def _built(portrait: Portrait, users: int, versions: int = 1) -> Instance:
    files = generator.generate(portrait.settings.home / "generated", users=users)
    take_in(portrait, files.events, files.items, files.users)
    here = Portrait(portrait.settings.model_copy(update={"num_workers": 0}))
    with torch_threads(1):  # more of them wait for each other where the machine is shared
        for number in range(versions):  # how well they learned costs no time
            version = train_version(here, "autoencoder", overrides=["epochs=1", f"seed={number}"])
            backfill(portrait.repo, version.id, portrait.settings)
    portrait.registry.consumers.add(CONSUMER, "benchmark", "measure")
    portrait.operations.promote("benchmark", CONSUMER, version.id, "to be read")
    portrait.repo.apply()
    snapshot = cut_snapshot(portrait.log)
    ids = [user for bucket in sorted(snapshot.buckets) for user in portrait.log.user_ids(bucket)]
    return Instance(portrait, portrait.registry.versions.get(version.id), snapshot, ids)


@contextmanager
def _empty(online: str) -> Iterator[None]:
    if not online:
        yield
        return
    client = redis.Redis.from_url(online)
    if client.dbsize():
        raise InvalidInput(f"{online} is not empty: the benchmark writes to it and flushes it afterwards")
    try:
        yield
    finally:
        client.flushdb()
        client.close()
