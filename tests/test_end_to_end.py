"""The main job from an event log to an embedding that a consumer reads, with every real part, on both stacks."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from feast import FeatureStore

from portrait.feature_repo.declaration.environment import feast_config
from portrait.feature_repo.log.partition import bucket_of
from portrait.infra import generator
from portrait.infra.jobs.versions import take_in, train_version
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.client import Client
from portrait.serving.running import start
from portrait.training.backfill.backfill import backfill
from tests.instances import TINY, TINY_CLUE

USERS = 400
MODELS = {"autoencoder": TINY, "clue": TINY_CLUE}
"""Both of 16 dimensions: nothing but version and fingerprint tells their vectors apart."""
BY_RAY = {"embedded": "autoencoder", "production": "clue"}
"""The family that Ray Train trains on a stack; the other one is trained in this process, which is quicker."""


@pytest.fixture(params=["embedded", "production"])
def stack(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """SQLite in the home, or Postgres and Redis: nothing but the environment differs."""
    servers = {"PORTRAIT_REGISTRY_URL": "", "PORTRAIT_FEAST_REGISTRY_URL": "", "PORTRAIT_ONLINE_STORE_URL": ""}
    if request.param == "production":
        fixtures = ("postgres_url", "second_postgres_url", "redis_url")
        servers = dict(zip(servers, map(request.getfixturevalue, fixtures), strict=True))
    for name, url in servers.items():
        monkeypatch.setenv(name, url)
    return str(request.param)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_from_events_to_a_consumers_embedding(stack: str, tmp_path: Path) -> None:
    files = generator.generate(tmp_path / "generated", users=USERS)
    with Portrait.prepare(Settings()) as portrait:
        report = take_in(portrait, files.events, files.items, files.users)
        assert report.events is not None and report.events.accepted == report.events.read
        assert portrait.log.users_count() == USERS

        first, second = (embedded_version(portrait, family, by_ray=family == BY_RAY[stack]) for family in MODELS)
        assert first.fingerprint != second.fingerprint
        for consumer in ("ranker", "churn"):
            portrait.registry.consumers.add(consumer, "team", consumer)
            portrait.operations.promote("test", consumer, first.id, "first")
        portrait.repo.apply()

        users = [f"u{number:06d}" for number in range(0, USERS, 40)]
        with start(portrait.settings.model_copy(update={"port": 0})) as running:
            before = read_four_ways(portrait, running.url, "ranker", users, first)
            assert len(np.unique(before, axis=0)) > len(users) // 2
            assert read_four_ways(portrait, running.url, "churn", users, first).tobytes() == before.tobytes()

            portrait.operations.promote("test", "ranker", second.id, "another family")
            wait_until(reads(running.url, "ranker", second))
            portrait.repo.apply()
            after = read_four_ways(portrait, running.url, "ranker", users, second)
            assert after.tobytes() != before.tobytes()
            assert read_four_ways(portrait, running.url, "churn", users, first).tobytes() == before.tobytes()

            portrait.operations.rollback("test", "ranker", "clicks fell")
            wait_until(reads(running.url, "ranker", first))
            portrait.repo.apply()
            assert read_four_ways(portrait, running.url, "ranker", users, first).tobytes() == before.tobytes()
            assert cold_start(running.url, first) == ("prior", "prior")


def embedded_version(portrait: Portrait, family: str, by_ray: bool) -> EmbeddingVersion:
    """A version trained by Ray Train or in this process, with everybody's vectors."""
    with Portrait(portrait.settings.model_copy(update={"num_workers": int(by_ray)})) as trains:
        version = train_version(trains, family, overrides=MODELS[family])
    done = backfill(portrait.repo, version.id, portrait.settings)
    assert done.users == done.embedded == done.written_online == portrait.repo.count_vectors(version) == USERS
    return portrait.registry.versions.get(version.id)


def read_four_ways(
    portrait: Portrait, url: str, consumer: str, users: list[str], version: EmbeddingVersion
) -> np.ndarray:
    """float32 [n, d], after the reader, the client, bare HTTP and plain Feast have agreed on every bit."""
    ways = {
        "reader": by_reader(portrait, consumer, users, version),
        "client": by_client(url, consumer, users, version),
        "http": by_http(url, consumer, users, version),
        "feast": by_feast(portrait, consumer, users),
    }
    assert all(vectors.dtype == np.float32 and vectors.shape == (len(users), 16) for vectors in ways.values())
    for name, vectors in ways.items():
        assert vectors.tobytes() == ways["reader"].tobytes(), f"{name} differs"
    return ways["reader"]


def by_reader(portrait: Portrait, consumer: str, users: list[str], version: EmbeddingVersion) -> np.ndarray:
    portrait.reader.assignments.refresh()
    batch = portrait.reader.read(consumer, users)
    assert (batch.version, batch.fingerprint) == (version.id, version.fingerprint)
    assert set(batch.source) == {"stored"}
    return batch.vectors


def by_client(url: str, consumer: str, users: list[str], version: EmbeddingVersion) -> np.ndarray:
    with Client(url, consumer=consumer) as client:
        batch = client.embeddings(users)
        single = client.embedding(users[0])
    assert batch.user_ids == users and batch.versions == [version.id]
    assert single.vector.tobytes() == batch.matrix[0].tobytes()
    return batch.matrix


def by_http(url: str, consumer: str, users: list[str], version: EmbeddingVersion) -> np.ndarray:
    answers = [
        httpx.get(f"{url}/v1/consumers/{consumer}/embeddings/{user}").raise_for_status().json() for user in users
    ]
    for user, answer in zip(users, answers, strict=True):
        assert answer["user_id"] == user and answer["lane"] == "stable" and answer["source"] == "stored"
        assert (answer["version"], answer["fingerprint"]) == (version.id, version.fingerprint)
        assert answer["age_seconds"] >= 0 and answer["as_of"]
    return np.array([answer["vector"] for answer in answers], dtype=np.float32)


def by_feast(portrait: Portrait, consumer: str, users: list[str]) -> np.ndarray:
    """As a program that knows nothing of Portrait reads."""
    store = FeatureStore(config=feast_config(portrait.settings))
    rows = store.get_online_features(
        features=store.get_feature_service(consumer),
        entity_rows=[{"user_id": user} for user in users],
        full_feature_names=True,
    ).to_dict()
    store.registry.write_engine.dispose()
    return np.array(rows["user_embedding__vector"], dtype=np.float32)


def reads(url: str, consumer: str, version: EmbeddingVersion) -> Callable[[], bool]:
    """Whether HTTP answers are of this version."""
    address = f"{url}/v1/consumers/{consumer}/embeddings/u000000"
    return lambda: httpx.get(address).raise_for_status().json()["fingerprint"] == version.fingerprint


def wait_until(condition: Callable[[], bool]) -> None:
    started = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started < 60, "never became visible"  # how soon: `make bench`
        time.sleep(0.01)


def cold_start(url: str, version: EmbeddingVersion) -> tuple[str, str]:
    """Where the answers for two people come from of whom nothing is known, in different buckets."""
    strangers = ("nobody", "no-one")
    assert len({bucket_of(user) for user in strangers}) == 2
    with Client(url, consumer="ranker") as client:
        answers = [client.embedding(user) for user in strangers]
    assert {answer.version for answer in answers} == {version.id}
    assert answers[0].vector.tobytes() == answers[1].vector.tobytes()
    return answers[0].source, answers[1].source
