"""Scopes: every route against every kind of key."""

import re
import time
from threading import Event

import pytest
from fastapi.testclient import TestClient

from portrait.registry.access.audit import Audit, AuditOutcome
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_state
from portrait.serving.api.guard import Allowance
from portrait.serving.gateway.app import create_app
from tests.serving.api.api_table import CALLERS, PRESENTED, TABLE, headers
from tests.serving.conftest import SETTINGS
from tests.serving.twins import Twins


@pytest.mark.parametrize(("method", "path", "body", "expected"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_who_gets_what(
    keyed: TestClient, parts: Twins, method: str, path: str, body: object, expected: dict[str, int]
) -> None:
    for caller in CALLERS:
        before = kept(parts.registry)
        answer = keyed.request(method, path, json=body, headers=headers(caller))
        if expected[caller] == 200:  # let in; what comes of it is another table's
            assert answer.status_code in (200, 201, 202, 409), (caller, answer.text)
            continue
        assert answer.status_code == expected[caller], (caller, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers.get("www-authenticate") == ("Bearer" if expected[caller] == 401 else None)
        assert before == kept(parts.registry)


def kept(registry: Registry) -> object:
    """All that a change would show in: every one is audited."""
    done = [event for event in registry.audit.list() if event.outcome is AuditOutcome.DONE]
    return read_state(registry.database), done


def test_the_table_has_every_operation_of_the_document(keyed: TestClient) -> None:
    for template, methods in keyed.get("/openapi.json").json()["paths"].items():
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", template))
        tried = {method.lower() for method, path, _, _ in TABLE if pattern.fullmatch(path.partition("?")[0])}
        assert set(methods) <= tried, template


@pytest.mark.parametrize("caller", ["read", "promote", "events"])
def test_consumers_that_do_not_exist_cannot_be_told_from_those_of_others(keyed: TestClient, caller: str) -> None:
    for path in ("embeddings/ada", "embeddings?user=ada"):
        answers = [keyed.get(f"/v1/consumers/{name}/{path}", headers=headers(caller)) for name in ("search", "nobody")]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert answers[0].json()["detail"].replace("search", "nobody") == answers[1].json()["detail"]


def test_the_refusal_comes_before_the_body_is_read(keyed: TestClient) -> None:
    for path in ("/v1/consumers", "/v1/keys", "/v1/consumers/ranker/promotions", "/v1/consumers/ranker/embeddings"):
        for body in (b"{", b"x" * 10_000_000, b"\xff"):
            assert keyed.post(path, content=body).status_code == 401
            assert keyed.post(path, content=body, headers=headers("events")).status_code == 403


def test_the_actor_is_the_name_of_the_key(keyed: TestClient, parts: Twins) -> None:
    made = keyed.post(
        "/v1/consumers/ranker/promotions", json={"version": "autoencoder-2"}, headers=headers("promote")
    ).json()
    assert (made["actor"], made["to_version"]) == ("promoter of ranker", "autoencoder-2")
    [event] = parts.registry.audit.newest(1)
    assert (event.actor, event.action) == ("promoter of ranker", "promotion.promote")


def test_without_keys_the_actor_is_anonymous(http: TestClient) -> None:
    made = http.post("/v1/consumers/ranker/promotions", json={"version": "autoencoder-2"})
    assert (made.status_code, made.json()["actor"]) == (201, "anonymous")


def refusals(parts: Twins, count: int) -> list[tuple[str, str]]:
    """Actor and subject of the refused attempts, once there are so many: they are written aside."""
    until = time.monotonic() + 60
    while len(found := [event for event in parts.registry.audit.list() if event.action == "access"]) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
    return [(event.actor, event.subject) for event in found]


def test_every_refused_attempt_is_audited(keyed: TestClient, parts: Twins) -> None:
    keyed.get("/v1/consumers/ranker/embeddings/ada")
    keyed.get("/v1/consumers/search/embeddings/ada", headers=headers("read"))
    keyed.post("/v1/consumers/search/promotions", json={}, headers=headers("promote"))
    keyed.get("/v1/audit", headers=headers("events"))
    keyed.delete("/v1/keys/a0a0a0a0", headers=headers("wrong key"))
    assert refusals(parts, 5) == [
        ("anonymous", "consumer ranker"),
        ("reader of ranker", "consumer search"),
        ("promoter of ranker", "consumer search"),
        ("events", "GET /v1/audit"),
        ("anonymous", "DELETE /v1/keys/{id}"),
    ]
    keyed.get("/v1/consumers/ranker/embeddings/ada", headers=headers("read"))
    keyed.get("/v1/versions", headers=headers("events"))
    assert len(refusals(parts, 5)) == 5


def test_the_presented_key_stands_nowhere(keyed: TestClient, parts: Twins, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    said = ""
    for method, path, body, _ in TABLE:
        if (method, path) == ("POST", "/v1/keys"):
            continue  # shows the new one
        for caller in CALLERS:
            answer = keyed.request(method, path, json=body, headers=headers(caller))
            said += answer.text + str(answer.headers)
    refusals(parts, 60)
    said += caplog.text + "".join(map(str, parts.registry.audit.list()))
    for presented in filter(None, PRESENTED.values()):
        assert presented not in said
        assert presented.rpartition("_")[2] not in said


def test_a_flood_of_refusals_is_dropped_and_counted_but_answered(
    keyed: TestClient, parts: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Event()
    monkeypatch.setattr(Audit, "refused", lambda *_: held.wait(30))
    monkeypatch.setattr("portrait.serving.api.guard.MAX_REFUSALS", 3)
    with TestClient(create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)) as client:
        try:
            before = dropped(client)  # where processes share files, with what earlier tests left in it
            assert [client.get("/v1/keys").status_code for _ in range(10)] == [401] * 10
            assert dropped(client) - before == 7
        finally:
            held.set()


def test_the_audit_keeps_a_limited_number_of_refusals(
    keyed: TestClient, parts: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.serving.api.guard.AUDITED_AT_ONCE", 3)
    with TestClient(create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)) as client:
        before = dropped(client)
        assert [client.get("/v1/keys").status_code for _ in range(10)] == [401] * 10
        assert dropped(client) - before == 7
    assert len(refusals(parts, 3)) == 3


def test_an_allowance_grows_again_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    allowance = Allowance(2, seconds=10)
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now = 109.0
    assert not allowance.take()
    now = 110.5
    assert [allowance.take() for _ in range(2)] == [True, False]
    now = 1000.0
    assert [allowance.take() for _ in range(3)] == [True, True, False], "never more than at once"


def dropped(client: TestClient) -> float:
    shown = re.search(r"^portrait_refusals_dropped_total (.+)$", client.get("/metrics").text, re.MULTILINE)
    return float(shown[1]) if shown else 0.0


PLACES = {"/v1/consumers": "GET", "/v1/consumers/ranker/embeddings/ada": "GET", "/metrics": "GET", "/readyz": "GET"}


@pytest.mark.parametrize(("path", "method"), {**PLACES, "/v1/users/ada": "DELETE", "/v1/events": "POST"}.items())
def test_without_keys_web_pages_of_strangers_are_refused_everywhere(http: TestClient, path: str, method: str) -> None:
    for foreign in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        answer = http.request(method, path, headers=foreign)
        assert answer.status_code == 403 and "without API keys" in answer.json()["detail"]
    assert http.request(method, path).status_code != 403


def test_a_page_of_a_stranger_is_audited(http: TestClient, parts: Twins) -> None:
    http.post("/v1/consumers/ranker/promotions", json={}, headers={"origin": "http://evil.example"})
    assert refusals(parts, 1) == [("anonymous", "consumer ranker")]


def test_with_keys_names_do_not_matter(keyed: TestClient) -> None:
    given = headers("read") | {"host": "portrait.example", "origin": "https://elsewhere.example"}
    assert keyed.get("/v1/consumers/ranker/embeddings/ada", headers=given).status_code == 200
    assert keyed.get("/readyz", headers=given).status_code == 200
