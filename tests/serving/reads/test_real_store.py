"""The gateway over the real registry and the real online stores."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.tables import BucketRow
from portrait.feature_repo.online.store_mark import StoreMark
from portrait.serving.gateway.app import create_app
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.settings import ServingSettings
from tests.serving.instance import AS_OF, DIMENSION, USERS, Instance, build, make


@contextmanager
def gateway(settings: ServingSettings) -> Iterator[TestClient]:
    parts = build(settings)
    assignments = parts.reader.assignments
    assignments.begin()
    assignments.start()
    parts.arrivals.start()
    pool = PooledReader(parts.reader, 2, 2, 8, parts.asynchronous)
    try:
        app = create_app(pool, parts.operations, parts.arrivals, settings)
        app.state.watch = parts.reader.watch
        with TestClient(app) as client:
            yield client
    finally:
        assignments.stop()
        parts.arrivals.close()
        pool.close()


def bits(row: dict[str, list[float]]) -> bytes:
    return np.array(row["vector"], np.float32).tobytes()


def answers_are_right(http: TestClient, instance: Instance) -> None:
    path, vectors = "/v1/consumers/search/embeddings", instance.vectors["autoencoder-1"]
    row = http.get(f"{path}/user-7").json()
    assert bits(row) == vectors[7].tobytes()
    assert (row["version"], row["fingerprint"], row["source"]) == ("autoencoder-1", f"{1:064x}", "stored")
    assert datetime.fromisoformat(row["as_of"]) == AS_OF
    users = ["late", *(f"user-{number}" for number in range(USERS)), "nobody", "a/b\n", "user-3"]
    rows = http.post(path, json={"users": users}).json()["embeddings"]
    assert [row["user_id"] for row in rows] == users
    assert b"".join(map(bits, rows[1 : USERS + 1])) == vectors.tobytes()
    assert bits(rows[-1]) == vectors[3].tobytes()
    assert {row["source"] for row in rows[1 : USERS + 1]} == {"stored"}
    # late: two events, the newest after the backfill; nobody: the prior, as of the backfill.
    assert (rows[0]["source"], rows[0]["vector"][:2]) == ("computed", [1.0, 2.0])
    assert datetime.fromisoformat(rows[0]["as_of"]) == datetime(2024, 5, 3, 0, 0, 0, 1, tzinfo=UTC)
    assert (rows[-2]["source"], rows[-2]["vector"]) == ("prior", [-1.0] * DIMENSION)
    assert http.get(f"{path}/late?strict=true").status_code == 200
    assert http.get(f"{path}/nobody?strict=true").status_code == 404
    assert http.get("/v1/consumers/fresh/embeddings/user-1").status_code == 409
    assert http.get("/readyz").status_code == 200


def test_sqlite(instance: Instance) -> None:
    with gateway(instance.settings) as http:
        answers_are_right(http, instance)


def test_a_store_that_lost_rows_is_told_with_every_answer(tmp_path: Path) -> None:
    """Stale where users' rows may be missing, 503 where they are not ours; the store is looked at every second."""
    instance = make(ServingSettings(home=tmp_path))
    repo, path = instance.repo, "/v1/consumers/search/embeddings"
    with gateway(instance.settings) as http:
        watch = http.app.state.watch  # type: ignore[attr-defined]
        watch.look()
        assert http.get("/readyz").json()["online_store"] is None
        assert "portrait_online_store_sound 1.0" in http.get("/metrics").text
        mark = repo.online.read_mark(repo.config)
        assert mark is not None
        with instance.registry.database.transaction() as session:
            session.execute(update(BucketRow).where(BucketRow.bucket == bucket_of("user-7")).values(lost=True))
        watch.look()
        users = ["user-7", *(f"user-{number}" for number in range(8, 20)), "nobody"]
        rows = http.post(path, json={"users": users}).json()["embeddings"]
        assert [row["stale"] for row in rows] == [bucket_of(user) == bucket_of("user-7") for user in users]
        row = http.get(f"{path}/user-7").json()
        assert (row["stale"], row["source"], bits(row)) == (
            True,
            "stored",
            instance.vectors["autoencoder-1"][7].tobytes(),
        )
        ready = http.get("/readyz").json()
        assert ready["status"] == "degraded" and "rows of 1 buckets" in ready["online_store"]
        assert "portrait_online_store_sound 0.0" in http.get("/metrics").text
        repo.identity.restored([bucket_of("user-7")])

        repo.online.write_mark(repo.config, StoreMark("another", "theirs", mark.beat))
        watch.look()
        for answer in (http.get(f"{path}/user-7"), http.post(path, json={"users": users}), http.get("/readyz")):
            assert answer.status_code == 503 and "is filled by another registry" in answer.json()["detail"]
        repo.take_over()
        watch.look()
        row = http.get(f"{path}/nobody").json()
        assert (row["source"], row["stale"]) == ("prior", True)
    instance.registry.close()


@pytest.mark.slow
def test_redis(tmp_path: Path, redis_url: str) -> None:
    instance = make(ServingSettings(home=tmp_path, online_store_url=redis_url))
    with gateway(instance.settings) as http:
        answers_are_right(http, instance)
    instance.registry.close()


def test_a_promotion_is_seen_and_a_rollback_gives_the_same_bits(instance: Instance) -> None:
    with gateway(instance.settings) as http:

        def asked(consumer: str) -> tuple[str, bytes]:
            row = http.get(f"/v1/consumers/{consumer}/embeddings/user-5").json()
            return row["version"], bits(row)

        def wait_for(version: str) -> None:
            started = time.monotonic()
            while asked("ranker")[0] != version:
                assert time.monotonic() - started < 60

        before, other = asked("ranker"), asked("search")
        instance.promote("ranker", "autoencoder-2")
        wait_for("autoencoder-2")
        assert asked("ranker")[1] == instance.vectors["autoencoder-2"][5].tobytes()
        instance.registry.promotions.rollback("ranker", "back")
        wait_for("autoencoder-1")
        assert (asked("ranker"), asked("search")) == (before, other)
        kinds = [row["kind"] for row in http.get("/v1/consumers/ranker/history").json()]
    assert kinds[-2:] == ["promote", "rollback"]  # other tests promote in this instance too
