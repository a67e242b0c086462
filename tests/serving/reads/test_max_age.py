"""A consumer's max_age: older vectors are computed anew on read, or answered and flagged."""

import asyncio
import io
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from portrait.registry.errors import Unavailable
from portrait.serving.client import AsyncClient
from portrait.serving.reads.answers import ARROW
from portrait.serving.reads.async_reader import PooledReader
from tests.serving.twin_source import BACKFILLED, DIMENSION
from tests.serving.twins import Twins, micros, twins

PATH = "/v1/consumers/ranker/embeddings"
HOUR = 3600.0
CENTURY = 100 * 365 * 24 * HOUR


@pytest.fixture
def parts(registry_file: Path) -> Any:
    """Stored vectors of 2024; ada and user-1 have histories, user-2 has none that is online."""
    made = twins(registry_file)
    for user in ("ada", "user-1"):
        made.store.inputs[user] = {"event_times": [micros(BACKFILLED) - 5, micros(BACKFILLED) + 9], "position": 4}
    yield made
    made.close()


def limit(parts: Twins, max_age: float, consumer: str = "ranker") -> None:
    parts.registry.consumers.set(consumer, max_age=max_age)
    parts.reader.assignments.refresh()


def break_encoder(parts: Twins) -> None:
    def gone(version: Any) -> Any:
        raise Unavailable("the artifact is away")

    parts.reader.encoders.get = gone  # type: ignore[method-assign]


def test_an_old_vector_is_computed_anew_as_of_what_is_known(http: TestClient, parts: Twins) -> None:
    stored = http.get(f"{PATH}/ada").json()
    limit(parts, HOUR)
    fresh = http.get(f"{PATH}/ada").json()
    newest = micros(BACKFILLED) + 10
    assert (stored["source"], stored["stale"]) == ("stored", False)
    assert (fresh["source"], fresh["stale"], fresh["age_seconds"]) == ("computed", False, 0.0)
    assert fresh["vector"] == [1.0, 2.0, newest % 1_000_003] + [0.0] * (DIMENSION - 3)
    assert fresh["as_of"] == "2024-05-01T00:00:00.000010Z"


@pytest.mark.parametrize("max_age", [None, CENTURY])
def test_one_that_is_young_enough_stays(http: TestClient, parts: Twins, max_age: float | None) -> None:
    limit(parts, max_age)
    rows = [http.get(f"{PATH}/ada").json(), *http.post(PATH, json={"users": ["ada"]}).json()["embeddings"]]
    assert [(row["source"], row["stale"]) for row in rows] == [("stored", False)] * 2
    assert parts.encoders["autoencoder-1"].encoded == []


@pytest.mark.parametrize(("share", "source"), [(0.9, "computed"), (1.1, "stored")])
def test_the_limit_is_as_long_as_it_says(http: TestClient, parts: Twins, share: float, source: str) -> None:
    limit(parts, share * http.get(f"{PATH}/ada").json()["age_seconds"])
    rows = [http.get(f"{PATH}/ada").json(), *http.post(PATH, json={"users": ["ada"]}).json()["embeddings"]]
    assert [row["source"] for row in rows] == [source] * 2


def test_other_consumers_of_the_version_pay_nothing(http: TestClient, parts: Twins) -> None:
    limit(parts, HOUR)
    answer = http.get("/v1/consumers/search/embeddings/ada").json()
    assert (answer["source"], answer["stale"]) == ("stored", False)


def test_a_batch_mixes_all_of_them_in_order(http: TestClient, parts: Twins) -> None:
    limit(parts, HOUR)
    users = ["user-2", "ada", "nobody", "user-1", "bob"]
    rows = http.post(PATH, json={"users": users, "strict": False}).json()["embeddings"]
    # Of user-2 nothing is online but the vector: the prior would say less.
    assert [(row["source"], row["stale"]) for row in rows] == [
        ("stored", True),
        ("computed", False),
        ("prior", False),
        ("computed", False),
        ("computed", False),
    ]
    assert rows[0]["vector"] == [2.0] * DIMENSION and rows[0]["age_seconds"] > HOUR
    assert http.post(PATH, json={"users": users[:2], "strict": True}).status_code == 200


def stale_answers(http: TestClient) -> float:
    """What /metrics counts, of all consumers."""
    return sum(map(float, re.findall(r"^portrait_embeddings_stale_total\S* (\S+)", http.get("/metrics").text, re.M)))


def test_what_cannot_be_computed_is_flagged(http: TestClient, parts: Twins) -> None:
    limit(parts, HOUR)
    before = http.get("/v1/consumers/search/embeddings/ada").json()
    break_encoder(parts)
    one = http.get(f"{PATH}/ada").json()
    assert (one["source"], one["stale"]) == ("stored", True)
    # From the second on: a label's first count goes on from an earlier test's, where Feast was imported first.
    counted = stale_answers(http)
    http.get(f"{PATH}/ada")
    assert stale_answers(http) == counted + 1
    assert [abs(number) for number in one["vector"]] == [abs(number) for number in before["vector"]]
    # Somebody without any vector cannot be answered, and the flag does not hide it.
    assert http.post(PATH, json={"users": ["ada", "bob"]}).status_code == 503


def test_a_store_whose_inputs_are_away_flags_too(
    http: TestClient, parts: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(parts, HOUR)

    def away(users: Sequence[str]) -> pa.Table:
        raise Unavailable("the online store does not answer")

    monkeypatch.setattr(parts.store, "read_inputs", away)
    assert http.get(f"{PATH}/ada").json()["stale"] is True
    assert http.get(f"{PATH}/bob").status_code == 503


def test_a_full_pool_flags(registry_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, let_go = twins(registry_file, compute_queue=1), threading.Event()
    made.store.inputs["ada"] = {"event_times": [5], "position": 1}
    encode = made.encoders["autoencoder-1"].encode

    def slow(users: Any, as_of: Any) -> Any:
        assert let_go.wait(10)
        return encode(users, as_of)

    monkeypatch.setattr(made.encoders["autoencoder-1"], "encode", slow)
    limit(made, HOUR)

    async def run() -> None:
        first = asyncio.ensure_future(made.pool.read("ranker", ["ada"]))
        await asyncio.sleep(0.05)
        second = await made.pool.read("ranker", ["ada", "user-3"])
        assert second.parts[0].stale.tolist() == [True, True]
        with pytest.raises(Unavailable, match="too many"):
            await made.pool.read("ranker", ["ada", "bob"])
        let_go.set()
        assert list((await first).parts[0].source) == ["computed"]

    asyncio.run(run())
    made.pool.close()


def test_both_lanes_of_a_canary_are_judged(http: TestClient, parts: Twins) -> None:
    parts.promote("ranker", "autoencoder-2", canary_share=0.5)
    limit(parts, HOUR)
    users = [f"user-{number}" for number in range(12)]
    for user in users:
        parts.store.inputs[user] = {"event_times": [5], "position": 1}
    rows = http.post(PATH, json={"users": users}).json()["embeddings"]
    assert {(row["lane"], row["source"], row["stale"]) for row in rows} == {
        ("stable", "computed", False),
        ("canary", "computed", False),
    }


def test_arrow_carries_the_flag(http: TestClient, parts: Twins) -> None:
    limit(parts, HOUR)
    answer = http.post(PATH, json={"users": ["ada", "user-2"]}, headers={"Accept": ARROW})
    with pa.ipc.open_stream(io.BytesIO(answer.content)) as stream:
        table = stream.read_all()
    assert table.schema.field("stale").type == pa.bool_() and table.column("stale").to_pylist() == [False, True]
    one = http.get(f"{PATH}/user-2", headers={"Accept": ARROW})
    assert pa.ipc.open_stream(one.content).read_all().column("stale").to_pylist() == [True]


def test_the_client_carries_it_too(http: TestClient, parts: Twins) -> None:
    limit(parts, HOUR)

    async def ask() -> None:
        transport = httpx.ASGITransport(http.app)
        async with AsyncClient("http://localhost", "ranker", transport=transport) as client:
            rows = await client.embeddings(["ada", "user-2"])
            assert [row.stale for row in rows] == [False, True]
            assert rows[1].vector.tolist() == [2.0] * DIMENSION
            assert (await client.embedding("user-2")).stale is True

    asyncio.run(ask())


def test_only_users_without_a_vector_are_wanted(parts: Twins) -> None:
    wanted: list[str] = []
    pool = PooledReader(parts.reader, 1, 1, 4, wanted=wanted.extend)
    limit(parts, HOUR)
    asyncio.run(pool.read("ranker", ["ada", "bob", "nobody", "early", "silent"]))
    assert wanted == ["bob", "early"]  # ada has a vector; of the others nothing is known that a vector could tell
    asyncio.run(pool.read("search", ["ada", "user-1"]))
    assert wanted == ["bob", "early"]
    pool.close()
