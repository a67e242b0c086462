"""Hostile requests: the status is below 500, and no request changes the answer of another."""

import asyncio
import json
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from tests.serving.api.api_table import ADMINISTERS, HEAD, TABLE

CHANGES = [(method, path, body) for method, path, body, _ in TABLE if method in ("POST", "PATCH")]
ids = [f"{method} {path}" for method, path, _ in CHANGES]
ADMIN = {"Authorization": f"Bearer {ADMINISTERS}"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(("method", "path", "good"), CHANGES, ids=ids)
def test_bodies(keyed: TestClient, method: str, path: str, good: dict[str, object]) -> None:
    def status(content: bytes) -> int:
        return keyed.request(method, path, content=content, headers=ADMIN | JSON).status_code

    for content in (b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b'{"users"', b"NaN"):
        assert status(content) in (400, 422), content
    for deep in (b"[" * 50_000, b'{"a":' * 10_000, b'{"users":' + b"[" * 50_000):
        assert status(deep) in (400, 422)
    assert status(b" " * 10_000_000) == 413
    for value in ("\x00", "\ud800", "é" * 200, {"a": 1}, [[]], -1e308, True, None, 2**70):
        for name in good:
            assert status(json.dumps({**good, name: value}).encode()) < 500, (name, value)
    extra = keyed.request(method, path, json={**good, "actor": "somebody else"}, headers=ADMIN)
    assert extra.status_code == 422 and "actor" in extra.json()["detail"]


def test_a_web_page_cannot_send_changes(http: TestClient) -> None:
    """These media types need no preflight, so a page that somebody visits could send them to loopback."""
    for method, path, good in CHANGES:
        for media_type in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            sent = http.build_request(method, path, json=good, headers={"Content-Type": media_type})
            answer = http.send(sent)
            if "/embeddings" not in path:
                assert answer.status_code == 422 and "application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "name", ["\x00", "\n", "ü🦄", "x" * 5000, "'; DROP TABLE", "..", "%", "*", "{consumer}", "\u202e"]
)
def test_names_in_paths(keyed: TestClient, name: str) -> None:
    escaped = quote(name, safe="")
    for method, path, body, _ in TABLE:
        for known in ("ranker", "autoencoder-1", "autoencoder-2", "a0a0a0a0"):
            if f"/{known}" in path:
                answer = keyed.request(method, path.replace(f"/{known}", f"/{escaped}"), json=body, headers=ADMIN)
                assert answer.status_code < 500, (method, path, answer.text)


@pytest.mark.parametrize(
    "header",
    [b"Bearer " + b"x" * 1_000_000, b"Bearer " + b"_" * 100_000, "Bearer ключ_ö_🦄".encode(), b"Bearer \xff\xfe\x00",
     b"Bearer", b"", b"Basic YTpi", b"Bearer portrait_a3a3a3a3_", b"Bearer portrait_a3a3a3a3_" + b"s" * 42,
     b"bearer " * 50],
)  # fmt: skip
def test_authorization_headers(keyed: TestClient, header: bytes) -> None:
    for path in ("/v1/consumers/ranker/embeddings/ada", "/v1/versions", "/v1/audit"):
        answer = keyed.get(path, headers=[(b"authorization", header)])
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_two_headers_are_not_two_tries(keyed: TestClient) -> None:
    both = [("Authorization", "Bearer wrong"), ("Authorization", ADMIN["Authorization"])]
    assert keyed.get("/v1/keys", headers=both).status_code == 401


def test_numbers_that_json_does_not_have(keyed: TestClient) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = str({**HEAD, "metrics": {"auc": 0}}).replace("'", '"').replace('"auc": 0', f'"auc": {number}')
        answer = keyed.post("/v1/consumers/ranker/heads", content=body, headers=ADMIN | JSON)
        assert answer.status_code == 422, answer.text
        body = '{"version": "autoencoder-2", "canary_share": %s}' % number  # noqa: UP031
        answer = keyed.post("/v1/consumers/ranker/promotions", content=body, headers=ADMIN | JSON)
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.1, "0.5", True, []])
def test_shares_outside_of_nothing_and_everybody(keyed: TestClient, share: object) -> None:
    body = {"version": "autoencoder-2", "canary_share": share}
    assert keyed.post("/v1/consumers/ranker/promotions", json=body, headers=ADMIN).status_code == 422


@pytest.mark.parametrize("path", ["/v1/events", "/v1/consumers/ranker/promotions", "/v1/consumers/ranker/embeddings"])
def test_a_body_that_does_not_end_is_given_up(http: TestClient, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.serving.api.requests.BODY_SECONDS", 0.2)
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    said: list[Message] = []

    async def trickle() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Message) -> None:
        said.append(message)

    asyncio.run(http.app({**scope, "headers": headers, "http_version": "1.1", "root_path": ""}, trickle, send))
    assert said[0]["status"] == 408
    assert b"did not come within 0.2 s" in said[1]["body"]
