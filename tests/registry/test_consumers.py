import pytest

from registry.assignments import read_generation
from registry.errors import Conflict, InvalidInput, NotFound
from registry.registry import Registry
from tests.registry.factories import ready_version


def test_a_consumer_is_added_once(registry: Registry) -> None:
    added = registry.consumers.add("homepage_ranker", "home team", "rank the home page")
    generation = read_generation(registry.database)
    assert registry.consumers.add("homepage_ranker", "home team", "rank the home page") == added
    assert read_generation(registry.database) == generation == 1
    assert registry.consumers.get("homepage_ranker") == added
    with pytest.raises(Conflict, match="owned by home team"):
        registry.consumers.add("homepage_ranker", "another team", "rank the home page")
    assert registry.consumers.list() == [added]


def test_a_consumer_is_changed_field_by_field(registry: Registry) -> None:
    registry.consumers.add("ads", "ads team", "bid")
    assert registry.consumers.set("ads", owner="growth").owner == "growth"
    changed = registry.consumers.set("ads", task="")
    assert (changed.owner, changed.task) == ("growth", "")
    assert registry.consumers.get("ads") == changed
    with pytest.raises(NotFound, match="no consumer 'adz'; known: ads"):
        registry.consumers.set("adz", owner="growth")


def test_consumers_are_listed_by_name_with_what_they_read(registry: Registry) -> None:
    for name in ("search", "ads"):
        registry.consumers.add(name, "team", "")
    ready_version(registry)
    registry.promotions.promote("ads", "autoencoder-1", "ada", "")
    assert [consumer.name for consumer in registry.consumers.list()] == ["ads", "search"]
    assignment = registry.consumers.assignment("ads")
    assert assignment is not None and assignment.stable == "autoencoder-1"
    assert registry.consumers.assignment("search") is None
    with pytest.raises(NotFound):
        registry.consumers.assignment("mail")


@pytest.mark.parametrize("name", ["", "Ads", "1st", "a-b", "a b", "ads\n", "a" * 64, "representation_inputs"])
def test_a_name_that_cannot_name_a_feature_service_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidInput, match="consumer name"):
        registry.consumers.add(name, "team", "")


@pytest.mark.parametrize(
    ("owner", "task", "message"),
    [
        ("", "", "owner is empty"),
        ("o" * 129, "", "owner has 129 characters"),
        ("a\x00b", "", "owner .* cannot be printed"),
        ("team", "t" * 257, "task has 257 characters"),
        ("team", "a\x00b", "task .* cannot be printed"),
        ("team", "\ud800", "task .* cannot be printed"),
    ],
)
def test_both_databases_refuse_the_same_texts(registry: Registry, owner: str, task: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        registry.consumers.add("ads", owner, task)
    registry.consumers.add("ads", "o" * 128, "t" * 256)
