"""Projection: by how many generations Feast is behind the registry."""

from collections.abc import Callable

import pytest

from portrait.registry.records.grants import Grant
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import generations_behind, read_generation, record_projected
from tests.registry.factories import new_version, ready_version


def level(registry: Registry) -> None:
    """Feast shows everything."""
    record_projected(registry.database, read_generation(registry.database))
    assert generations_behind(registry.database) == 0


@pytest.fixture
def shown(registry: Registry) -> Registry:
    """A consumer that reads the first of two ready versions, all of it shown by Feast."""
    for run in ("run-1", "run-2"):
        ready_version(registry, run)
    registry.consumers.add("ads", "web")
    registry.promotions.promote("ads", "autoencoder-1")
    level(registry)
    return registry


UNSEEN: dict[str, Callable[[Registry], object]] = {
    "a key": lambda registry: registry.keys.add("web", [Grant.parse("administer")]),
    "a consumer that reads nothing": lambda registry: registry.consumers.add("mail", "web"),
    "a canary": lambda registry: registry.promotions.promote("ads", "autoencoder-2", canary_share=0.1),
    "a failed version": lambda registry: registry.versions.fail("autoencoder-2", "broken"),
}
SEEN: dict[str, Callable[[Registry], object]] = {
    "a promotion": lambda registry: registry.promotions.promote("ads", "autoencoder-2"),
    "an owner": lambda registry: registry.consumers.set("ads", owner="mail"),
    "a version": lambda registry: registry.versions.register(new_version("run-3")),
    "a retirement": lambda registry: registry.retirements.begin("autoencoder-2"),
}


@pytest.mark.parametrize("change", UNSEEN)
def test_what_feast_does_not_show_leaves_it_level(shown: Registry, change: str) -> None:
    before = read_generation(shown.database)
    UNSEEN[change](shown)
    assert read_generation(shown.database) > before
    assert generations_behind(shown.database) == 0


@pytest.mark.parametrize("change", SEEN)
def test_what_feast_shows_leaves_it_behind(shown: Registry, change: str) -> None:
    SEEN[change](shown)
    behind = generations_behind(shown.database)
    assert behind > 0
    UNSEEN["a key"](shown)
    assert generations_behind(shown.database) == behind + 1  # still behind by what it has not shown
    level(shown)
