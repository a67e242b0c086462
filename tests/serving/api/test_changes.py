"""Changes of the registry over HTTP: the answers, and the refusals with their reasons."""

from dataclasses import fields
from datetime import datetime, timedelta, timezone
from threading import Event, Thread

import pytest
from fastapi.testclient import TestClient

from portrait.registry.records.gate_settings import GateSettings
from portrait.serving.api.requests import GateChanges
from portrait.serving.gateway import app as gateway
from portrait.serving.gateway.app import create_app
from tests.registry.factories import new_version, vector_facts
from tests.serving.api.api_table import HEAD
from tests.serving.conftest import SETTINGS, problem
from tests.serving.twin_source import FINGERPRINTS
from tests.serving.twins import Twins

PROMOTIONS = "/v1/consumers/ranker/promotions"
UNCOVERED = vector_facts(1000, users_embedded=912)


def test_a_promotion_is_201_with_what_is_read_after(http: TestClient) -> None:
    answer = http.post(PROMOTIONS, json={"version": "autoencoder-2", "reason": "better", "expected_revision": 1})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["consumer"], made["revision"], made["kind"]) == ("ranker", 2, "promote")
    assert (made["from_version"], made["to_version"]) == ("autoencoder-1", "autoencoder-2")
    assert (made["canary"], made["canary_share"], made["forced"]) == (None, None, False)
    assert [gate["outcome"] for gate in made["gates"]] == ["accept"] * 9
    assert http.get("/v1/consumers/ranker/history").json()[-1] == made


def test_a_dry_run_shows_every_gate_and_changes_nothing(http: TestClient, parts: Twins) -> None:
    asked = {"version": "autoencoder-2", "dry_run": True}
    answer = http.post(PROMOTIONS, json=asked)
    assert (answer.status_code, answer.json()["passes"], len(answer.json()["gates"])) == (200, True, 9)
    parts.operations.found["autoencoder-2"] = UNCOVERED
    answer = http.post(PROMOTIONS, json=asked)
    assert (answer.status_code, answer.json()["passes"]) == (200, False)
    assert [gate for gate in answer.json()["gates"] if gate["outcome"] != "accept"] == [
        {
            "gate": "coverage-is-complete",
            "outcome": "wait",
            "reason": "version autoencoder-2 covers 91.2% of users, the gate wants 99.9%",
            "remedy": "run `portrait backfill autoencoder-2`",
            "forceable": True,
        }
    ]
    assert parts.registry.consumers.assignment("ranker").stable == "autoencoder-1"  # type: ignore[union-attr]
    assert len(parts.registry.promotions.history("ranker")) == 1


def test_a_refused_promotion_carries_every_verdict(http: TestClient, parts: Twins) -> None:
    parts.operations.found["autoencoder-2"] = UNCOVERED
    refused = problem(http.post(PROMOTIONS, json={"version": "autoencoder-2"}), 409, "91.2%", "portrait backfill")
    assert refused["title"] == "Refused by a gate"
    outcomes = {gate["gate"]: gate["outcome"] for gate in refused["gates"]}  # type: ignore[attr-defined]
    assert len(outcomes) == 9 and outcomes["version-is-ready"] == "accept"
    assert [gate for gate, outcome in outcomes.items() if outcome != "accept"] == ["coverage-is-complete"]
    assert outcomes["coverage-is-complete"] == "wait"
    problem(http.post(PROMOTIONS, json={"version": "autoencoder-2", "force": True}), 400, "reason")
    forced = http.post(PROMOTIONS, json={"version": "autoencoder-2", "force": True, "reason": "must"})
    assert (forced.status_code, forced.json()["forced"]) == (201, True)


def test_another_revision_is_a_409_without_gates(http: TestClient) -> None:
    conflict = problem(http.post(PROMOTIONS, json={"version": "autoencoder-2", "expected_revision": 7}), 409, "7")
    assert (conflict["title"], "gates" in conflict) == ("Conflict", False)


def test_unknown_names_are_404s(http: TestClient) -> None:
    problem(http.post("/v1/consumers/nobody/promotions", json={"version": "autoencoder-2"}), 404, "'nobody'")
    problem(http.post(PROMOTIONS, json={"version": "autoencoder-9"}), 404, "'autoencoder-9'")
    problem(http.post("/v1/consumers/nobody/rollback", json={}), 404)
    problem(http.patch("/v1/consumers/nobody", json={}), 404)
    problem(http.get("/v1/consumers/nobody/heads"), 404)
    problem(http.get("/v1/versions/autoencoder-1/diff/autoencoder-9"), 404)
    problem(http.delete("/v1/keys/a0a0a0a0"), 404)


def test_a_canary_from_beginning_to_end(http: TestClient, parts: Twins) -> None:
    canary = "/v1/consumers/ranker/canary"
    problem(http.post(canary, json={"action": "finish"}), 409, "no canary")
    begun = http.post(PROMOTIONS, json={"version": "autoencoder-2", "canary_share": 0.25}).json()
    assert (begun["kind"], begun["to_version"]) == ("canary", "autoencoder-1")
    assert (begun["canary"], begun["canary_share"]) == ("autoencoder-2", 0.25)
    assert http.post(canary, json={"action": "abort", "reason": "worse"}).json()["kind"] == "abort"
    http.post(PROMOTIONS, json={"version": "autoencoder-2", "canary_share": 0.25})
    finished = http.post(canary, json={"action": "finish", "expected_revision": 4})
    assert (finished.status_code, finished.json()["to_version"]) == (201, "autoencoder-2")
    problem(http.post(canary, json={"action": "abort", "force": True}), 422, "force")
    problem(http.post(canary, json={"action": "widen"}), 422, "action")


def test_rollback(http: TestClient) -> None:
    http.post(PROMOTIONS, json={"version": "autoencoder-2"})
    back = http.post("/v1/consumers/ranker/rollback", json={"reason": "worse"})
    assert back.status_code == 201
    assert (back.json()["kind"], back.json()["to_version"]) == ("rollback", "autoencoder-1")


def test_history_at_a_time(http: TestClient) -> None:
    history = "/v1/consumers/ranker/history"
    promoted_at = datetime.fromisoformat(http.get(history).json()[0]["promoted_at"])
    east = promoted_at.astimezone(timezone(timedelta(hours=2)))
    assert len(http.get(history, params={"at": east.isoformat()}).json()) == 1
    assert http.get(history, params={"at": (east - timedelta(microseconds=1)).isoformat()}).json() == []
    for wrong in ("", "yesterday", "2024", "2024-05-03", "2024-05-03T00:00:00", "0001-01-01T00:00:00+05:00"):
        problem(http.get(history, params={"at": wrong}), 400, "at")


def test_consumers_are_added_changed_and_shown(http: TestClient, parts: Twins) -> None:
    new = {"name": "fourth", "owner": "ads", "gates": {"min_coverage": 0.9, "task": "clicks"}, "wants_head": True}
    made = http.post("/v1/consumers", json=new)
    assert made.status_code == 201
    assert (made.json()["gates"]["min_coverage"], made.json()["gates"]["metric"]) == (0.9, "auc")
    problem(http.post("/v1/consumers", json={"name": "fourth", "owner": "others"}), 409, "ads")
    changed = http.patch("/v1/consumers/fourth", json={"gates": {"min_coverage": None, "tolerance": 0.1}}).json()
    assert (changed["gates"]["min_coverage"], changed["gates"]["tolerance"]) == (0.999, 0.1)
    assert (changed["gates"]["task"], changed["owner"], changed["wants_head"]) == ("clicks", "ads", True)
    assert http.patch("/v1/consumers/fourth", json={"wants_head": False}).json()["wants_head"] is False
    assert made.json()["max_age_seconds"] is None
    for sent, kept in ((60, 60.0), (None, 60.0), (0, None)):
        now = http.patch("/v1/consumers/fourth", json={"max_age_seconds": sent}).json()
        assert now["max_age_seconds"] == kept
    problem(http.patch("/v1/consumers/fourth", json={"max_age_seconds": -1}), 422, "max_age_seconds")
    parts.reader.assignments.refresh()
    shown = http.get("/v1/consumers/fourth").json()
    assert shown == {**changed, "wants_head": False, "assignment": None}


def test_every_gate_setting_can_be_sent() -> None:
    assert set(GateChanges.model_fields) == {field.name for field in fields(GateSettings)}


def test_heads(http: TestClient) -> None:
    heads = "/v1/consumers/ranker/heads"
    made = http.post(heads, json=HEAD)
    assert made.status_code == 201
    assert (made.json()["as_of"], made.json()["metrics"]) == ("2024-05-01T00:00:00Z", {"auc": 0.7})
    assert http.get(heads).json() == [made.json()]
    mixed = problem(http.post(heads, json=HEAD | {"fingerprint": "0" * 64}), 409, "0" * 64)
    assert FINGERPRINTS["autoencoder-1"] in str(mixed["detail"])
    for wrong in ({"metrics": {"auc": "0.7"}}, {"metrics": {"": 1.0}}, {"as_of": 7}, {"as_of": "7"}, {"task": ""}):
        problem(http.post(heads, json=HEAD | wrong), 422, next(iter(wrong)))


def test_versions_show_where_they_come_from(http: TestClient, parts: Twins) -> None:
    parts.registry.versions.register(new_version("run-3", config={"width": 3}, code_revision="r1"))
    parts.set_version("autoencoder-3", metrics={"loss": float("nan")})
    shown = http.get("/v1/versions/autoencoder-3").json()
    assert (shown["parent"], shown["config"], shown["code_revision"]) == ("autoencoder-2", {"width": 3}, "r1")
    assert shown["metrics"] == {"loss": None}  # JSON has no NaN
    parts.registry.versions.fail("autoencoder-3", "out of memory")
    assert http.get("/v1/versions").json()[2]["failure"] == "out of memory"


def test_the_difference_of_two_versions(http: TestClient) -> None:
    diff = http.get("/v1/versions/autoencoder-1/diff/autoencoder-2").json()
    assert (diff["a"]["version"], diff["b"]["fingerprint"]) == ("autoencoder-1", FINGERPRINTS["autoencoder-2"])
    assert diff["measured"] == [{"task": "listens", "metric": "auc", "data_stamp": "2024-05", "a": 0.7, "b": None}]
    assert (diff["neighbour_overlap"], diff["cosine_raw"], diff["cosine_rotated"]) == (0.5, None, 0.75)


def test_retirement(http: TestClient, parts: Twins) -> None:
    problem(http.post("/v1/versions/autoencoder-2/retire", json={}), 409, "search")
    parts.registry.versions.register(new_version("run-3"))
    retired = http.post("/v1/versions/autoencoder-3/retire", json={"reason": "old"})
    assert (retired.status_code, retired.json()["state"]) == (200, "retired")


def test_a_key_is_shown_once_and_kept_by_no_cache(http: TestClient, parts: Twins) -> None:
    asked = {"name": "ads", "grants": ["embeddings:read=ranker", "events:write"]}
    made = http.post("/v1/keys", json=asked)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    new = made.json()
    assert (new["name"], new["grants"], new["created_by"]) == ("ads", asked["grants"], "anonymous")
    listed = http.get("/v1/keys").text
    assert new["key"] not in listed and new["id"] in listed
    [kept] = parts.registry.keys.list()
    assert kept.id == new["id"] and kept.sha256 not in made.text + listed
    parts.reader.assignments.refresh()
    bearer = {"Authorization": f"Bearer {new['key']}"}
    assert http.get("/v1/consumers/ranker/embeddings/ada").status_code == 401
    assert http.get("/v1/consumers/ranker/embeddings/ada", headers=bearer).status_code == 200
    assert http.delete(f"/v1/keys/{new['id']}", headers=bearer).status_code == 403


def test_a_revoked_key_is_told_so(http: TestClient) -> None:
    id = http.post("/v1/keys", json={"name": "ads", "grants": ["administer"]}).json()["id"]
    assert http.delete(f"/v1/keys/{id}").json()["revoked_at"]


@pytest.mark.parametrize(
    ("grants", "status"),
    [([], 422), (["everything"], 400), (["embeddings:read"], 400), (["administer=ranker"], 400), ([1], 422),
     (["embeddings:read=nobody"], 404)],
)  # fmt: skip
def test_grants_that_cannot_be(http: TestClient, grants: list[object], status: int) -> None:
    problem(http.post("/v1/keys", json={"name": "ads", "grants": grants}), status)


def test_the_audit_in_pages(http: TestClient, parts: Twins) -> None:
    before = parts.registry.audit.newest(1)[0].id
    for owner in "abcde":
        http.patch("/v1/consumers/ranker", json={"owner": owner})
    page = http.get("/v1/audit", params={"after": before, "limit": 3}).json()
    rest = http.get("/v1/audit", params={"after": page[-1]["id"], "since": "2024-05-01T00:00:00Z"}).json()
    assert [event["id"] - before for event in page + rest] == [1, 2, 3, 4, 5]
    assert len(http.get("/v1/audit", params={"limit": 3}).json()) == 3
    assert (page[0]["action"], page[0]["subject"], page[0]["outcome"]) == ("consumer.set", "consumer ranker", "done")
    for wrong in ({"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": 2**31}, {"since": "now"}):
        problem(http.get("/v1/audit", params=wrong), 400, next(iter(wrong)))


def test_too_much_waiting_is_a_503_and_reads_go_on(parts: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "THREADS", 1)
    monkeypatch.setattr(gateway, "WAITING", 1)
    begun, held = Event(), Event()

    def slow(*_: object) -> object:
        begun.set()
        held.wait(30)
        return []

    monkeypatch.setattr(parts.registry.versions, "list", slow)
    with TestClient(create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)) as client:
        waiting = Thread(target=client.get, args=("/v1/versions",))
        waiting.start()
        try:
            assert begun.wait(10)
            refused = client.post(PROMOTIONS, json={"version": "autoencoder-2"})
            problem(refused, 503, "too many requests")
            assert refused.headers["retry-after"]
            assert client.get("/v1/consumers/ranker/embeddings/ada").status_code == 200
        finally:
            held.set()
            waiting.join()
        assert client.post(PROMOTIONS, json={"version": "autoencoder-2"}).status_code == 201
