"""The event loop's reader: cold users never hold up stored ones, and too many of them are refused."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from portrait.feature_repo.online.codec import VectorRow, VectorRows
from portrait.registry.errors import Unavailable
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.reads.async_reader import PooledReader
from tests.serving.twins import ODD_VECTOR, Twins, twins


def test_cold_users_are_bounded_and_stored_ones_go_on(registry_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, let_go = twins(registry_file, compute_queue=3), threading.Event()
    encode = made.encoders["autoencoder-1"].encode

    def slow(users: Any, as_of: Any) -> Any:
        assert let_go.wait(10)
        return encode(users, as_of)

    monkeypatch.setattr(made.encoders["autoencoder-1"], "encode", slow)

    async def run() -> None:
        waiting = [asyncio.ensure_future(made.pool.read("ranker", ["bob"])) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable, match="too many"):
            await made.pool.read("ranker", ["bob"])
        stored = await asyncio.wait_for(made.pool.read("ranker", ["ada"]), 5)
        assert list(stored.source) == ["stored"]
        waiting[2].cancel()
        let_go.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [list(answer.source) for answer in answers[:2]] == [["computed"]] * 2  # type: ignore[union-attr]
        assert list((await made.pool.read("ranker", ["bob"])).source) == ["computed"]

    asyncio.run(run())
    made.pool.close()


class AwaitedStore:
    """The store of the twins without threads; counts how many look-ups are under way at most."""

    def __init__(self, parts: Twins) -> None:
        self._store = parts.store
        self._under_way = 0
        self.most = 0
        self.threads: list[str] = []

    async def read_vectors_async(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> VectorRows:
        self.threads.append(threading.current_thread().name)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        return self._store.read_vectors(version, user_ids)

    async def read_vector_async(self, version: EmbeddingVersion, user_id: str) -> VectorRow | None:
        self.threads.append(threading.current_thread().name)
        return self._store.read_vector(version, user_id)


def test_a_store_that_can_be_awaited_is(parts: Twins) -> None:
    store = AwaitedStore(parts)
    pool = PooledReader(parts.reader, 1, 1, 1, store)
    assert list(asyncio.run(pool.read("ranker", ["ada", "nobody"])).source) == ["stored", "prior"]
    one = asyncio.run(pool.stored("ranker", "ada"))
    assert one is not None and one.vector.tobytes() == ODD_VECTOR.tobytes()
    assert asyncio.run(pool.stored("ranker", "nobody")) is None
    assert store.threads == ["MainThread"] * 3
    pool.close()


def test_the_look_ups_of_two_lanes_go_out_together(parts: Twins) -> None:
    parts.promote("ranker", "autoencoder-2", canary_share=0.5)
    store = AwaitedStore(parts)
    pool, users = PooledReader(parts.reader, 1, 1, 1, store), [f"user-{number}" for number in range(9)] + ["bob"]
    answer = asyncio.run(pool.read("ranker", users))
    assert list(answer.rows(lambda part: part.user_ids)) == users
    assert [part.lane for part in answer.parts] == ["stable", "canary"] and store.most == parts.store.lookups == 2
    pool.close()


def test_small_reads_take_no_thread_and_large_ones_do(parts: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    read, threads = parts.store.read_vectors, []

    def noted(version: EmbeddingVersion, users: Sequence[str]) -> VectorRows:
        threads.append((len(users), threading.current_thread() is threading.main_thread()))
        return read(version, users)

    monkeypatch.setattr(parts.store, "read_vectors", noted)
    pool = PooledReader(parts.reader, 1, 1, 1, inline_users=2)
    for users in (["ada"], ["ada"] * 2, ["ada"] * 3):
        asyncio.run(pool.read("ranker", users))
    assert threads == [(1, True), (2, True), (3, False)]
    pool.close()


def test_warming_loads_encoders_and_survives_those_that_do_not_load(parts: Twins) -> None:
    versions = list(parts.reader.assignments.state.versions.values())
    parts.encoders.pop("autoencoder-1")
    for done in parts.pool.warm(versions):
        assert done.result(5) is None
    parts.encoders.clear()
    assert parts.reader.encoders.get(versions[1]).prior[0] == -2
