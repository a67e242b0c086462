"""The cache of encoders: one load each, within a budget, and no load holds up another version."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.reads.encoders import EncoderCache
from tests.serving.twin_source import version
from tests.serving.twins import TwinEncoder


def test_an_encoder_is_loaded_once_however_many_ask() -> None:
    loads: list[str] = []
    together = threading.Barrier(4)

    def load(asked: EmbeddingVersion) -> TwinEncoder:
        loads.append(asked.id)
        return TwinEncoder(1)

    cache = EncoderCache(load)

    def ask(_: int) -> object:
        together.wait(5)
        return cache.get(version())

    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(id, pool.map(ask, range(4))))) == 1
    assert loads == ["autoencoder-1"]


def test_a_slow_load_holds_up_nobody_else() -> None:
    loading, let_go = threading.Event(), threading.Event()

    def load(asked: EmbeddingVersion) -> TwinEncoder:
        if asked.id == "autoencoder-1":
            loading.set()
            assert let_go.wait(5)
        return TwinEncoder(asked.number)

    cache = EncoderCache(load)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, version("autoencoder-1"))
        assert loading.wait(5)
        assert cache.get(version("autoencoder-2")).number == 2  # type: ignore[attr-defined]
        let_go.set()
        assert slow.result(5).number == 1  # type: ignore[attr-defined]


def test_the_least_recently_used_leave_and_the_newest_stays_however_large() -> None:
    loads: list[str] = []

    def load(asked: EmbeddingVersion) -> TwinEncoder:
        loads.append(asked.id)
        return TwinEncoder(asked.number, nbytes=400 if asked.number < 9 else 5000)

    cache = EncoderCache(load, budget_bytes=1000)
    for number in (1, 2, 1, 3, 1, 2, 9, 9):
        cache.get(version(f"autoencoder-{number}"))
    assert loads == [f"autoencoder-{number}" for number in (1, 2, 3, 2, 9)]


def test_a_failed_load_is_tried_again() -> None:
    answers = iter([OSError("gone"), TwinEncoder(1)])

    def load(_: EmbeddingVersion) -> TwinEncoder:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    cache = EncoderCache(load)
    with pytest.raises(OSError, match="gone"):
        cache.get(version())
    assert cache.get(version()).nbytes == 1000
