"""Direct reads of the same vectors from the stores, without a server in between, one after the other."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import redis

from benchmarks.instance import Instance
from benchmarks.load import Load
from portrait.feature_repo.declaration.views import view_name
from portrait.feature_repo.online.codec import user_keys
from portrait.feature_repo.online.redis import _field

Read = Callable[[Sequence[str]], object]


@contextmanager
def readers(instance: Instance) -> Iterator[dict[str, Read]]:
    """Ways to read in this process, by name."""
    repo, version = instance.portrait.repo, instance.version
    features = [f"{view_name(version.id)}:vector"]

    def feast(users: Sequence[str]) -> object:
        return repo.feast.get_online_features(features, entity_rows=[{"user_id": user} for user in users]).to_dict()

    with _raw(instance) as raw:
        yield {
            "FeatureRepo.read_vectors": lambda users: repo.read_vectors(version, users),
            "Feast get_online_features": feast,
            "the bare store": raw,
        }


def measure(read: Read, requests: Sequence[Sequence[str]], seconds: float) -> Load:
    """Read the requests round and round, after a warm-up of a tenth of the time."""
    taken: list[float] = []
    start = time.perf_counter() + seconds / 10
    end = start + seconds
    turn = 0
    while (sent := time.perf_counter()) < end:
        read(requests[turn % len(requests)])
        turn += 1
        if sent >= start:
            taken.append(time.perf_counter() - sent)
    p50, p99 = np.percentile(taken, [50, 99]) * 1000
    return Load(1, len(taken), seconds, float(p50), float(p99), len(taken))


@contextmanager
def _raw(instance: Instance) -> Iterator[Read]:
    """Values as bytes by the driver alone."""
    view, project = view_name(instance.version.id), instance.portrait.repo.config.project
    if instance.settings.online_store_url:
        client = redis.Redis.from_url(instance.settings.online_store_url)
        field = _field(view, "vector")

        def from_redis(users: Sequence[str]) -> object:
            pipeline = client.pipeline(transaction=False)
            for key in user_keys(users):
                pipeline.hget(key + project.encode(), field)
            return pipeline.execute()

        yield from_redis
        client.close()
        return
    connection = sqlite3.connect(instance.settings.home / "online.db")

    def from_sqlite(users: Sequence[str]) -> object:
        marks = ",".join("?" * len(users))
        query = (
            f'SELECT entity_key, value FROM "{project}_{view}" '
            f"WHERE feature_name = 'vector' AND entity_key IN ({marks})"
        )
        return connection.execute(query, user_keys(users)).fetchall()

    yield from_sqlite
    connection.close()
