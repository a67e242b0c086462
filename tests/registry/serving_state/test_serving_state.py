import pytest
from sqlalchemy import update

from portrait.registry.database.database import Database
from portrait.registry.database.tables import ApiKeyRow
from portrait.registry.errors import RegistryMissing
from portrait.registry.records.grants import Grant, Scope
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, read_state
from tests.registry.factories import AS_OF, good_evidence, new_version, ready_version


def test_an_empty_registry_is_at_generation_zero(registry: Registry) -> None:
    state = read_state(registry.database)
    assert (state.generation, state.assignments, state.versions) == (0, {}, {})
    assert (state.consumers, state.keys) == ({}, {})


def test_the_state_is_what_the_registry_says(registry: Registry) -> None:
    ready_version(registry)
    registry.versions.register(new_version("run-2"))
    for name in ("ads", "search"):
        registry.consumers.add(name, "team", "")
    registry.promotions.promote("ads", "autoencoder-1")
    key, _ = registry.keys.add("ci", [Grant(Scope.READ, "ads")])
    state = read_state(registry.database)
    assert state.generation == read_generation(registry.database)
    assert state.assignments == {"ads": registry.consumers.assignment("ads")}
    assert state.versions == {version.id: version for version in registry.versions.list()}
    assert state.versions["autoencoder-1"].last_as_of == AS_OF
    assert state.keys == {key.id: key}
    assert state.consumers == {consumer.name: consumer for consumer in registry.consumers.list()}


def test_an_equal_generation_means_an_equal_state(registry: Registry) -> None:
    """What a poller relies on: over the life of a version, no state is seen twice under one generation."""
    seen = {}

    def look() -> None:
        state = read_state(registry.database)
        assert seen.setdefault(state.generation, state) == state

    look()
    registry.versions.register(new_version())
    look()
    registry.consumers.add("ads", "team", "")
    look()
    registry.consumers.set("ads", owner="other team")
    look()
    backfill = registry.backfills.begin("autoencoder-1", "snapshot-1", AS_OF, 1)
    look()
    registry.backfills.bucket_done(backfill.id, 0, 1)
    look()
    registry.backfills.finish(backfill.id)
    look()
    ready_version(registry, "run-2")
    look()
    good_evidence(registry, registry.versions.get("autoencoder-1"), users=1)
    look()
    registry.promotions.promote("ads", "autoencoder-1")
    look()
    registry.promotions.promote("ads", "autoencoder-2")
    look()
    registry.promotions.rollback("ads")
    look()
    registry.versions.fail("autoencoder-2", "worse")
    look()
    key, _ = registry.keys.add("ci", [Grant(Scope.ADMINISTER)])
    look()
    registry.keys.revoke(key.id)
    look()
    ready_version(registry, "run-3")
    look()
    registry.retirements.begin("autoencoder-3")
    look()
    registry.retirements.finish("autoencoder-3")
    look()
    assert len(seen) == 16  # bucket_done changes nothing that serving shows


def test_what_newer_code_has_granted_keeps_nobody_from_reading_the_state(registry: Registry) -> None:
    key, _ = registry.keys.add("ci", [Grant(Scope.EVENTS)])
    with registry.database.transaction() as session:
        session.execute(update(ApiKeyRow).values(grants=["models:train", "events:write"]))
    assert read_state(registry.database).keys == {key.id: key}


def test_a_database_without_tables_is_no_empty_registry(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(RegistryMissing, match="portrait apply"):
        read_generation(database)
    database.close()
