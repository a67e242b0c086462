"""Operations on a real instance: what a gateway does of its own, and what a retirement waits for."""

import time
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.reconcile_process import generations_behind
from portrait.infra.portrait import Portrait
from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Conflict, NotFound, Unavailable
from portrait.registry.serving_state.serving_state import read_generation
from portrait.serving.gateway.app import create_app
from portrait.serving.gateway.build import GatewayParts, build_parts
from portrait.serving.operations import operations
from portrait.serving.operations.reconciler import Reconciler
from portrait.serving.reads.async_reader import PooledReader


@pytest.fixture
def parts(backfilled: Portrait) -> Iterator[GatewayParts]:
    """What a gateway stands on, over an instance whose consumer `ranker` reads nothing yet."""
    made = build_parts(backfilled.settings.model_copy(update={"reconcile_seconds": 0.2}))
    made.reader.assignments.begin()
    yield made
    assert made.reconciler is not None
    made.reconciler.stop()


def until(reached: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_promotion_over_http_is_judged_on_real_evidence_and_feast_follows(
    backfilled: Portrait, parts: GatewayParts
) -> None:
    assert parts.reconciler is not None
    app = create_app(PooledReader(parts.reader, 1, 1, 4), parts.operations, parts.arrivals, backfilled.settings)
    with TestClient(app) as client:
        body = {"version": "autoencoder-1", "reason": "first"}
        dry = client.post("/v1/consumers/ranker/promotions", json={**body, "dry_run": True})
        assert (dry.status_code, dry.json()["passes"]) == (200, True)
        assert len(dry.json()["gates"]) == 9
        made = client.post("/v1/consumers/ranker/promotions", json=body)
        assert made.status_code == 201, made.text
        assert {gate["outcome"] for gate in made.json()["gates"]} == {"accept"}
        refused = client.post("/v1/versions/autoencoder-1/retire", json={"reason": "too early"})
        assert refused.status_code == 409 and "ranker reads it" in refused.json()["detail"]
    until(lambda: generations_behind(backfilled.database) == 0)
    assert served_by_feast(backfilled.repo, "ranker") == "autoencoder-1"


@pytest.mark.slow
def test_what_a_crash_left_behind_is_made_up_for(backfilled: Portrait, parts: GatewayParts) -> None:
    backfilled.operations.promote("ann", "ranker", "autoencoder-1")
    backfilled.registry.consumers.set("ranker", owner="somebody else")  # and its apply never came
    behind = generations_behind(backfilled.database)
    assert behind > 0
    assert parts.reconciler is not None
    parts.reconciler.start()
    until(lambda: generations_behind(backfilled.database) == 0)
    backfilled.repo.feast.refresh_registry()
    assert backfilled.repo.feast.get_feature_service("ranker").owner == "somebody else"


@pytest.mark.slow
def test_a_gateway_ends_a_retirement_that_was_cut_short(backfilled: Portrait, parts: GatewayParts) -> None:
    backfilled.registry.retirements.begin("autoencoder-1", "and then the power went")
    offline = backfilled.settings.home / "embeddings" / "autoencoder-1"
    assert offline.exists() and parts.reconciler is not None
    parts.reconciler.start()
    until(lambda: backfilled.registry.versions.get("autoencoder-1").state is VersionState.RETIRED)
    assert not offline.exists()
    backfilled.repo.feast.refresh_registry()
    assert "user_embedding__autoencoder_1" not in {view.name for view in backfilled.repo.feast.list_feature_views()}


def test_a_retirement_waits_for_gateways_that_serve_an_earlier_state(
    backfilled: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "REPLICAS_SECONDS", 0.3)
    registry = backfilled.registry
    registry.replicas.seen("r1", "web-1", read_generation(backfilled.database))
    with pytest.raises(
        Conflict, match=r"still follow an earlier state: gateway r1 on web-1.*portrait retire autoencoder-1"
    ):
        backfilled.operations.retire("ann", "autoencoder-1")
    version = registry.versions.get("autoencoder-1")
    assert version.state is VersionState.RETIRING
    assert backfilled.repo.count_vectors(version) > 0

    registry.replicas.seen("r1", "web-1", read_generation(backfilled.database))
    assert backfilled.operations.retire("ann", "autoencoder-1").state is VersionState.RETIRED


def test_an_unknown_consumer_is_said_before_a_model_is_loaded(
    backfilled: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations.Operations, "_inspect", lambda *_: pytest.fail("looked at a version"))
    with pytest.raises(NotFound, match="'nobody'"):
        backfilled.operations.promote("ann", "nobody", "autoencoder-1", expected_revision=0)
    with pytest.raises(Conflict, match="nothing to go back to"):
        backfilled.operations.rollback("ann", "ranker")
    tried = [(event.actor, event.action, event.outcome) for event in backfilled.registry.audit.newest(2)]
    assert tried == [("ann", "promotion.promote", "refused"), ("ann", "promotion.rollback", "refused")]


def test_a_failing_feast_does_not_undo_a_promotion(backfilled: Portrait, caplog: pytest.LogCaptureFixture) -> None:
    def away() -> None:
        raise Unavailable("Feast's database does not answer")

    made = operations.Operations(backfilled.registry, backfilled.repo, away).promote("ann", "ranker", "autoencoder-1")
    assert made.revision == 1
    assert "plain Feast clients do not see it yet (Feast's database does not answer)" in caplog.text


def test_the_reconciler_looks_twice_and_survives_failures(caplog: pytest.LogCaptureFixture) -> None:
    looks, done = iter([0, 1, 1, 1, 0]), []

    def reconcile() -> None:
        done.append("reconcile")
        raise Unavailable("no luck this time")

    watching = Reconciler(lambda: next(looks, 0), reconcile, 0.01)
    watching.resume = lambda: done.append("resume")
    watching.start()
    until(lambda: done.count("resume") >= 5)
    watching.stop()
    assert done[:6] == ["resume", "resume", "reconcile", "resume", "reconcile", "resume"]
    assert "no luck this time" in caplog.text


def served_by_feast(repo: FeatureRepo, consumer: str) -> str:
    repo.feast.refresh_registry()
    version: str = repo.feast.get_feature_service(consumer).tags["version"]
    return version
