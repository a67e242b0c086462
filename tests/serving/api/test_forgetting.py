"""DELETE /v1/users/{user}: the audit never shows the path."""

import time

from fastapi.testclient import TestClient

from portrait.registry.errors import Conflict
from tests.serving.api.api_table import headers
from tests.serving.conftest import problem
from tests.serving.twins import Twins


def test_the_answer_is_the_report(keyed: TestClient, parts: Twins) -> None:
    answer = keyed.delete("/v1/users/cart/42 b", headers=headers("admin"))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["found"], body["trained"]) == ({"events": 3}, [{"id": "autoencoder-1", "state": "ready"}])
    [event] = parts.registry.audit.newest(1)
    assert (event.actor, event.action, event.subject) == ("ops", "user.forget", body["subject"])
    assert body["subject"] == parts.operations.forget("ops", "cart/42 b").subject
    assert "42" not in answer.text.replace(body["subject"], "")


def test_a_refused_one_is_audited_without_the_user(keyed: TestClient, parts: Twins) -> None:
    assert keyed.delete("/v1/users/secret-id", headers=headers("events")).status_code == 403
    until = time.monotonic() + 60
    while not (events := [event for event in parts.registry.audit.list() if event.action == "access"]):
        assert time.monotonic() < until
        time.sleep(0.01)
    [event] = events
    assert event.subject.startswith("DELETE /v1/users/{user") and "secret-id" not in str(event)


def test_what_stands_in_the_way_is_said(http: TestClient, parts: Twins) -> None:
    def busy(actor: str, user: str) -> None:
        raise Conflict("another process is rewriting files of this home")

    parts.operations.forget = busy  # type: ignore[method-assign, assignment]
    problem(http.delete("/v1/users/ada"), 409, "another process")
    assert http.delete("/v1/users/").status_code in (400, 404, 405)
