"""The Python client against the real application, without a socket between."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from portrait.serving import client as exported
from portrait.serving.client import AsyncClient, BadRequest, Conflict, Embeddings, MixedVersions, NotFound, Unavailable
from portrait.serving.client.http import Client
from portrait.serving.gateway.app import create_app
from tests.serving.conftest import MAX_BATCH, SETTINGS
from tests.serving.twin_source import BACKFILLED, DIMENSION
from tests.serving.twins import ODD_VECTOR, Twins


@pytest.fixture
def app(parts: Twins) -> FastAPI:
    return create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)


def ask(app: FastAPI, question: Callable[[AsyncClient], object], consumer: str = "ranker", **options: int) -> object:
    async def run() -> object:
        transport = httpx.ASGITransport(app)
        async with AsyncClient("http://localhost", consumer, transport=transport, **options) as client:
            return await question(client)  # type: ignore[misc]

    return asyncio.run(run())


def test_an_embedding(app: FastAPI) -> None:
    answer = ask(app, lambda client: client.embedding("ada"))
    assert answer.vector.dtype == np.float32 and answer.vector.tobytes() == ODD_VECTOR.tobytes()
    assert (answer.user_id, answer.version, answer.lane, answer.source) == ("ada", "autoencoder-1", "stable", "stored")
    assert answer.as_of == BACKFILLED and answer.age_seconds > 0


ODD_USERS = [
    "ü🦄",
    "a/b",
    "/",
    "//x",
    ".",
    "..",
    "../..",
    "%2F",
    "a b",
    "?",
    "#",
    "a&b=c",
    "+",
    "\x00",
    "user-7\n",
    "x" * 20_000,
]


@pytest.mark.parametrize("user", ODD_USERS)
def test_odd_user_ids_are_just_ids(app: FastAPI, parts: Twins, user: str) -> None:
    parts.store.vectors["autoencoder-1", user] = ODD_VECTOR
    single = ask(app, lambda client: client.embedding(user))
    batch = ask(app, lambda client: client.embeddings([user]))
    assert [(row.user_id, row.source) for row in (single, *batch)] == [(user, "stored")] * 2


@pytest.mark.parametrize("arrow", [True, False])
def test_a_batch_is_cut_into_requests_and_put_together(
    app: FastAPI, parts: Twins, monkeypatch: pytest.MonkeyPatch, arrow: bool
) -> None:
    if not arrow:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    users = [f"user-{number}" for number in range(45)] + ["ada", "bob", "nobody"]
    answer = ask(app, lambda client: client.embeddings(users), batch_size=MAX_BATCH)
    assert parts.store.lookups == 3
    assert answer.user_ids == users
    assert answer.matrix.shape == (48, DIMENSION) and answer.matrix.dtype == np.float32
    assert answer[45].vector.tobytes() == ODD_VECTOR.tobytes()
    assert [row.source for row in answer[45:]] == ["stored", "computed", "prior"]
    assert answer[0].as_of == BACKFILLED
    assert list(answer.by_version()) == ["autoencoder-1"]


def test_no_users_no_request(app: FastAPI, parts: Twins) -> None:
    answer = ask(app, lambda client: client.embeddings([]))
    assert len(answer) == 0 and len(answer.matrix) == 0 and parts.store.lookups == 0


def test_a_matrix_of_two_versions_is_refused(app: FastAPI) -> None:
    one = ask(app, lambda client: client.embeddings(["ada", "user-1"]))
    two = ask(app, lambda client: client.embeddings(["user-2"]), consumer="search")
    mixed = Embeddings([*one, *two])
    with pytest.raises(MixedVersions, match="autoencoder-1 and autoencoder-2"):
        _ = mixed.matrix
    assert {version: part.user_ids for version, part in mixed.by_version().items()} == {
        "autoencoder-1": ["ada", "user-1"],
        "autoencoder-2": ["user-2"],
    }
    assert mixed.by_version()["autoencoder-2"].matrix.shape == (1, DIMENSION)


@pytest.mark.parametrize("arrow", [True, False])
@pytest.mark.parametrize("dimension", [DIMENSION, 3])
def test_a_canary_shows_in_lanes_and_its_vectors_do_not_mix(
    app: FastAPI, parts: Twins, monkeypatch: pytest.MonkeyPatch, arrow: bool, dimension: int
) -> None:
    if not arrow:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    parts.set_version("autoencoder-2", dimension=dimension)
    users = [f"user-{number}" for number in range(18)]
    for number, user in enumerate(users):
        parts.store.vectors["autoencoder-2", user] = np.full(dimension, -number / 3, np.float32)
    parts.promote("ranker", "autoencoder-2", canary_share=0.2)
    answer = ask(app, lambda client: client.embeddings(users))
    inside = [4, 8, 13, 14]  # of tests/serving/state/test_routing.py
    assert answer.user_ids == users
    assert [number for number, row in enumerate(answer) if row.lane == "canary"] == inside
    for number, row in enumerate(answer):
        there = number in inside
        assert row.version == f"autoencoder-{2 if there else 1}" and row.vector.dtype == np.float32
        assert row.vector.tolist() == [np.float32(-number / 3)] * dimension if there else [number] * DIMENSION
    with pytest.raises(MixedVersions, match="autoencoder-1 and autoencoder-2"):
        _ = answer.matrix
    apart = answer.by_version()
    assert apart["autoencoder-2"].matrix.shape == (4, dimension)
    assert apart["autoencoder-1"].matrix.shape == (14, DIMENSION)
    single = ask(app, lambda client: client.embedding("user-4"))
    assert (single.lane, single.version, len(single.vector)) == ("canary", "autoencoder-2", dimension)


def test_refusals_are_errors_of_the_tree(app: FastAPI, parts: Twins) -> None:
    with pytest.raises(NotFound, match="ranker") as unknown:
        ask(app, lambda client: client.embedding("ada"), consumer="nobody")
    assert unknown.value.status == 404
    with pytest.raises(NotFound, match="nobody"):
        ask(app, lambda client: client.embedding("nobody", strict=True))
    with pytest.raises(NotFound, match="nobody"):
        ask(app, lambda client: client.embeddings(["ada", "nobody"], strict=True))
    with pytest.raises(Conflict, match="promote"):
        ask(app, lambda client: client.embedding("ada"), consumer="fresh")
    with pytest.raises(BadRequest, match="limit") as too_large:
        ask(app, lambda client: client.embeddings(["ada"] * (MAX_BATCH + 1)))
    assert too_large.value.problem["limit"] == MAX_BATCH
    parts.store.away = True
    with pytest.raises(Unavailable):
        ask(app, lambda client: client.embedding("ada"))


@pytest.mark.parametrize(("status", "kind"), [(401, exported.Unauthenticated), (403, exported.Forbidden)])
def test_a_key_that_is_missing_or_reaches_not_so_far(status: int, kind: type[Exception]) -> None:
    problem = {"status": status, "title": "refused", "detail": "ask an administrator"}
    headers = {"content-type": "application/problem+json"}
    refuse = httpx.MockTransport(lambda _request: httpx.Response(status, json=problem, headers=headers))
    with Client("http://x", "ranker", transport=refuse) as client:
        for ask_for in (lambda: client.embedding("ada"), lambda: client.embeddings(["ada"])):
            with pytest.raises(kind, match="ask an administrator") as refused:
                ask_for()
            assert refused.value.status == status and isinstance(refused.value, exported.ClientError)


@pytest.mark.parametrize("users", ["ada", [""], [None], [7], ["\ud800"]])
def test_unusable_ids_are_refused_before_anything_is_sent(app: FastAPI, parts: Twins, users: list[str]) -> None:
    with pytest.raises(BadRequest):
        ask(app, lambda client: client.embeddings(users))
    assert parts.store.lookups == 0


def test_a_server_that_is_away_or_another_one() -> None:
    with Client("http://127.0.0.1:9", "ranker") as client, pytest.raises(Unavailable, match="portrait serve"):
        client.embedding("ada")
    web_site = httpx.MockTransport(lambda _request: httpx.Response(200, text="<html>"))
    with Client("http://x", "ranker", transport=web_site) as client:
        with pytest.raises(exported.UnexpectedAnswer):
            client.embedding("ada")
        with pytest.raises(exported.UnexpectedAnswer):
            client.embeddings(["ada"])


def test_the_sync_client_says_the_same_and_sends_its_key(parts: Twins) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        row = {
            "user_id": "ada", "vector": [0.1], "version": "autoencoder-1", "fingerprint": "f", "lane": "stable",
            "source": "stored", "as_of": "2024-05-01T00:00:00Z", "age_seconds": 1.5,
        }  # fmt: skip
        return httpx.Response(200, json={"embeddings": [row]} if request.method == "POST" else row)

    with Client("http://x/", "ranker", key="secret", transport=httpx.MockTransport(answer)) as client:
        single, (several,) = client.embedding("a/b", strict=True), client.embeddings(["ada"])
    assert single.vector == several.vector == np.float32(0.1)
    assert single.as_of == datetime(2024, 5, 1, tzinfo=UTC)
    assert seen[0].url.raw_path == b"/v1/consumers/ranker/embeddings/a%2Fb?strict=true"
    assert {request.headers["authorization"] for request in seen} == {"Bearer secret"}


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}

    assert methods(Client) == methods(AsyncClient)


def test_importing_the_client_loads_nothing_heavy() -> None:
    heavy = {"torch", "ray", "feast", "pandas", "pyarrow", "sqlalchemy", "fastapi", "pydantic", "duckdb"}
    code = f"import portrait.serving.client, sys; print(sorted(set(sys.modules) & {heavy!r}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_what_is_exported() -> None:
    assert all(hasattr(exported, name) for name in exported.__all__)
    assert sorted(exported.__all__) == exported.__all__
