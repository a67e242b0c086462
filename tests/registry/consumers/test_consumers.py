import pytest
from sqlalchemy import select, update

from portrait.registry.consumers.consumers import ANY_AGE
from portrait.registry.database.tables import ConsumerRow
from portrait.registry.errors import Conflict, InvalidInput, NotFound
from portrait.registry.records.gate_settings import GateSettings
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, read_state
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


def test_a_consumer_carries_its_gates_and_whether_it_wants_a_head(registry: Registry) -> None:
    added = registry.consumers.add("ads", "team", "bid", ["min_coverage=0.9"], wants_head=True)
    assert (added.gates, added.wants_head) == (GateSettings(min_coverage=0.9), True)
    assert registry.consumers.add("ads", "team", "bid", {"min_coverage": 0.9}, wants_head=True) == added
    changed = registry.consumers.set("ads", gates=["tolerance=0.1"])
    assert (changed.gates, changed.wants_head) == (GateSettings(min_coverage=0.9, tolerance=0.1), True)
    changed = registry.consumers.set("ads", gates={"min_coverage": None}, wants_head=False)
    assert (changed.gates, changed.wants_head) == (GateSettings(tolerance=0.1), False)
    assert registry.consumers.get("ads") == changed == read_state(registry.database).consumers["ads"]


def test_a_consumer_says_how_old_its_vectors_may_be(registry: Registry) -> None:
    assert registry.consumers.add("ads", "team", "bid").max_age_seconds is None
    before = read_generation(registry.database)
    changed = registry.consumers.set("ads", max_age=90)
    assert changed.max_age_seconds == 90.0 == read_state(registry.database).consumers["ads"].max_age_seconds
    assert read_generation(registry.database) == before + 1
    assert registry.consumers.set("ads", owner="growth").max_age_seconds == 90.0
    assert registry.consumers.set("ads", max_age=ANY_AGE).max_age_seconds is None
    assert registry.consumers.add("search", "team", max_age=0.5).max_age_seconds == 0.5
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="max_age"):
            registry.consumers.set("ads", max_age=wrong)
    with pytest.raises(Conflict, match="max_age_seconds"):
        registry.consumers.add("search", "team")


def test_a_consumer_that_exists_with_anything_else_says_with_what(registry: Registry) -> None:
    registry.consumers.add("ads", "team", "bid")
    for other in (
        lambda: registry.consumers.add("ads", "team", "bid", ["tolerance=0.1"]),
        lambda: registry.consumers.add("ads", "team", "bid", wants_head=True),
        lambda: registry.consumers.add("ads", "growth", "rank"),
    ):
        with pytest.raises(Conflict, match=r"another (gates|wants_head|owner and task): .*`portrait consumer set ads`"):
            other()
    assert registry.consumers.get("ads").gates == GateSettings()


def test_setting_what_is_so_already_changes_nothing(registry: Registry) -> None:
    added = registry.consumers.add("ads", "team", "bid", ["tolerance=0.1"])
    before = read_generation(registry.database)
    assert registry.consumers.set("ads") == added
    assert registry.consumers.set("ads", " team ", "bid", {"tolerance": "0.1"}, False) == added
    assert read_generation(registry.database) == before
    registry.consumers.set("ads", wants_head=True)
    assert read_generation(registry.database) == before + 1


def test_a_setting_that_cannot_be_changes_nothing_at_all(registry: Registry) -> None:
    added = registry.consumers.add("ads", "team", "bid")
    with pytest.raises(InvalidInput, match=r"min_coverage=7\.0 is a share"):
        registry.consumers.set("ads", owner="growth", gates=["min_coverage=7"])
    with pytest.raises(InvalidInput, match="no gate setting 'speed'"):
        registry.consumers.add("search", "team", gates={"speed": 1})
    assert registry.consumers.list() == [added]


def test_settings_of_newer_code_are_read_around_and_kept(registry: Registry) -> None:
    registry.consumers.add("ads", "team", "bid", ["tolerance=0.1"])
    with registry.database.transaction() as session:
        session.execute(update(ConsumerRow).values(gates={"tolerance": 0.1, "min_freshness": 3}))
    assert registry.consumers.get("ads").gates == GateSettings(tolerance=0.1)
    assert read_state(registry.database).consumers["ads"].gates == GateSettings(tolerance=0.1)
    registry.consumers.set("ads", gates=["tolerance=", "task=churn"])
    with registry.database.reading() as session:
        assert session.scalar(select(ConsumerRow.gates)) == {"task": "churn", "min_freshness": 3}


def test_consumers_are_listed_by_name_with_what_they_read(registry: Registry) -> None:
    for name in ("search", "ads"):
        registry.consumers.add(name, "team", "")
    ready_version(registry)
    registry.promotions.promote("ads", "autoencoder-1")
    assert [consumer.name for consumer in registry.consumers.list()] == ["ads", "search"]
    assignment = registry.consumers.assignment("ads")
    assert assignment is not None and assignment.stable == "autoencoder-1"
    assert registry.consumers.assignment("search") is None
    with pytest.raises(NotFound):
        registry.consumers.assignment("mail")


def test_a_name_that_cannot_name_a_feature_service_is_refused(registry: Registry) -> None:
    for name in ("", "Ads", "1st", "a-b", "a b", "ads\n", "a" * 64, "representation_inputs"):
        with pytest.raises(InvalidInput, match="consumer name"):
            registry.consumers.add(name, "team", "")


def test_both_databases_refuse_the_same_texts(registry: Registry) -> None:
    for owner, task, message in (
        ("", "", "owner is empty"),
        ("o" * 129, "", "owner has 129 characters"),
        ("a\x00b", "", "owner .* cannot be printed"),
        ("team", "t" * 257, "task has 257 characters"),
        ("team", "a\x00b", "task .* cannot be printed"),
        ("team", "\ud800", "task .* cannot be printed"),
    ):
        with pytest.raises(InvalidInput, match=message):
            registry.consumers.add("ads", owner, task)
    registry.consumers.add("ads", "o" * 128, "t" * 256)
