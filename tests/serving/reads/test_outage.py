"""A registry that goes away, stands still or is moved: serving goes on, says so, starts without it and catches up."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient

from portrait.registry.database.database import Database
from portrait.registry.errors import Unavailable
from portrait.registry.serving_state.serving_state import read_generation
from portrait.serving.gateway.app import create_app
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.settings import ServingSettings
from portrait.serving.state.assignment_poller import Assignments
from portrait.serving.state.first_state import STATE_FILE, state_file_of
from tests.conftest import fresh_postgres
from tests.serving.instance import Instance, build, make
from tests.serving.proxy import Proxy
from tests.serving.state.test_assignment_poller import wait_until
from tests.serving.twins import Twins


@dataclass(frozen=True)
class Gateway:
    """What a test asks of running parts."""

    http: TestClient
    assignments: Assignments

    def reads(self, user: str = "user-5") -> str:
        answer = self.http.get(f"/v1/consumers/ranker/embeddings/{user}")
        assert answer.status_code == 200, answer.text
        version: str = answer.json()["version"]
        return version

    def ready(self) -> dict[str, Any]:
        answer = self.http.get("/readyz")
        assert answer.status_code == 200, answer.text
        ready: dict[str, Any] = answer.json()
        return ready

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name} (.+)$", self.http.get("/metrics").text, re.MULTILINE)
        assert found
        return float(found[1])


@contextmanager
def gateway(settings: ServingSettings) -> Iterator[Gateway]:
    parts = build(settings)
    assignments, pool = parts.reader.assignments, PooledReader(parts.reader, 2, 2, 8, parts.asynchronous)
    assignments.begin()
    assignments.start()
    parts.arrivals.start()
    try:
        with TestClient(create_app(pool, parts.operations, parts.arrivals, settings)) as http:
            yield Gateway(http, assignments)
    finally:
        assignments.stop()
        parts.arrivals.close()
        pool.close()


def is_at_its_best(served: Gateway) -> None:
    wait_until(lambda: served.ready()["registry"] == "answers")
    ready = served.ready()
    assert (ready["status"], ready["source"], ready["unreadable"]) == ("ready", "registry", [])
    assert ready["stale_seconds"] < 3 and served.metric("portrait_registry_up") == 1


def goes_on_without(served: Gateway, source: str) -> None:
    wait_until(lambda: served.ready()["registry"] == "away", 10)
    ready = served.ready()
    assert (ready["status"], ready["source"], ready["unreadable"]) == ("degraded", source, [])
    assert served.reads() == "autoencoder-1" and served.reads("nobody") == "autoencoder-1"
    assert served.metric("portrait_registry_up") == 0
    assert 0 < served.metric("portrait_assignments_stale_seconds") < 120
    assert served.metric("portrait_generation") == ready["generation"]


def an_outage(
    instance: Instance, settings: ServingSettings, cut: Callable[[], object], mend: Callable[[], object]
) -> None:
    """Cut the registry off a gateway, start a second one meanwhile, promote as soon as it is back."""
    file = state_file_of(settings, Database(settings.database_url))
    with gateway(settings) as first:
        is_at_its_best(first)
        wait_until(lambda: (kept := file.load()) and kept.state == first.assignments.state)
        cut()
        goes_on_without(first, "registry")
        with gateway(settings) as second:
            goes_on_without(second, "disk")
            assert second.ready()["generation"] == first.ready()["generation"]
            mend()
            instance.promote("ranker", "autoencoder-2")
            for served in (first, second):
                wait_until(lambda: served.reads() == "autoencoder-2", 10)  # noqa: B023
                is_at_its_best(served)
    back(instance)


def back(instance: Instance) -> None:
    instance.registry.promotions.rollback("ranker", "for the next test")


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with fresh_postgres() as url:
        made = make(ServingSettings(home=tmp_path_factory.mktemp("on_postgres"), registry_url=url))
        yield made
        made.registry.close()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    made = make(ServingSettings(home=tmp_path_factory.mktemp("on_sqlite")))
    yield made
    made.registry.close()


def test_a_postgres_that_goes_away(on_postgres: Instance) -> None:
    with Proxy(on_postgres.settings.database_url) as proxy:
        settings = on_postgres.settings.model_copy(update={"registry_url": proxy.url})
        an_outage(on_postgres, settings, proxy.cut, proxy.mend)


def test_a_postgres_that_stands_still(on_postgres: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("state.assignment_poller", "gateway.build"):
        monkeypatch.setattr(f"portrait.serving.{module}.PATIENCE", 1.0)
    with Proxy(on_postgres.settings.database_url) as proxy:
        settings = on_postgres.settings.model_copy(update={"registry_url": proxy.url})
        an_outage(on_postgres, settings, proxy.hush, proxy.mend)
        assert proxy.silenced > 0


def test_a_registry_file_that_is_moved_away(on_sqlite: Instance) -> None:
    file = on_sqlite.settings.home / "registry.db"
    away = file.with_name("moved.db")
    an_outage(on_sqlite, on_sqlite.settings, lambda: file.rename(away), lambda: away.rename(file))


def test_without_registry_and_without_a_file_a_gateway_waits_for_its_first_answer(on_sqlite: Instance) -> None:
    file = on_sqlite.settings.home / "registry.db"
    away = file.rename(file.with_name("moved.db"))
    (on_sqlite.settings.home / STATE_FILE).unlink(missing_ok=True)
    with gateway(on_sqlite.settings) as served:
        for path in ("/readyz", "/v1/consumers/ranker/embeddings/user-5"):
            assert served.http.get(path).status_code == 503
        assert served.http.get("/healthz").status_code == 200
        assert served.metric("portrait_registry_up") == 0
        assert 0 <= served.metric("portrait_assignments_stale_seconds") < 60
        away.rename(file)
        wait_until(lambda: served.http.get("/readyz").status_code == 200)
        assert served.reads() == "autoencoder-1"
        is_at_its_best(served)


@pytest.mark.parametrize("on", ["on_sqlite", "on_postgres"])
def test_the_registry_knows_who_serves_what(on: str, request: pytest.FixtureRequest) -> None:
    instance: Instance = request.getfixturevalue(on)
    replicas = instance.registry.replicas
    with gateway(instance.settings) as one, gateway(instance.settings) as other:
        wait_until(lambda: len(replicas.list()) == 2)
        instance.promote("ranker", "autoencoder-2")
        generation = read_generation(instance.registry.database)
        wait_until(lambda: not replicas.behind(generation))
        assert one.reads() == other.reads() == "autoencoder-2"  # whoever has reported it, serves it
    assert replicas.list() == []
    back(instance)


def test_one_version_that_cannot_be_read_takes_nobody_out_of_service(
    http: TestClient, parts: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, broken = parts.store.read_vectors, {"autoencoder-2"}

    def sometimes(version: Any, users: Any) -> Any:
        if version.id in broken:
            raise Unavailable(f"no vectors of {version.id}")
        return read(version, users)

    monkeypatch.setattr(parts.store, "read_vectors", sometimes)
    parts.promote("search", "autoencoder-1")
    assert http.get("/readyz").json()["status"] == "ready"
    parts.promote("ranker", "autoencoder-2", canary_share=0.01)
    answer = http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["unreadable"] == ["autoencoder-2"] and answer.json()["registry"] == "answers"
    broken.add("autoencoder-1")
    assert http.get("/readyz").status_code == 503
