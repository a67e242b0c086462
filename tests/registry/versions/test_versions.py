from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from portrait.registry.database.tables import EmbeddingVersionRow, VersionState
from portrait.registry.errors import Conflict, FingerprintMismatch, InvalidInput, NotFound
from portrait.registry.records.records import Evaluation
from portrait.registry.registry import Registry
from portrait.registry.rows import bump
from portrait.registry.serving_state.serving_state import read_generation
from tests.registry.factories import AS_OF, new_version, ready_version


def test_a_version_keeps_what_it_was_registered_with(registry: Registry) -> None:
    new = new_version()
    registered = registry.versions.register(new)
    assert registered == registry.versions.get("autoencoder-1") == registry.versions.list()[0]
    assert (registered.id, registered.number, registered.parent) == ("autoencoder-1", 1, None)
    assert (registered.state, registered.failure, registered.last_as_of) == (VersionState.REGISTERED, None, None)
    for name in ("fingerprint", "dimension", "run", "artifact", "snapshot", "data_from", "data_to", "code_revision"):
        assert getattr(registered, name) == getattr(new, name)
    assert (registered.feature_schema, registered.config, registered.metrics) == (
        {"history_length": 256},
        {"epochs": 3},
        {"loss": 0.25},
    )


def test_numbers_and_parents_are_counted_in_each_family(registry: Registry) -> None:
    ids = [
        registry.versions.register(new_version(f"run-{n}", family=family)).id
        for n, family in enumerate(["autoencoder", "clue", "autoencoder", "autoencoder", "clue"])
    ]
    assert ids == ["autoencoder-1", "clue-1", "autoencoder-2", "autoencoder-3", "clue-2"]
    assert [v.id for v in registry.versions.list()] == sorted(ids)
    assert registry.versions.get("autoencoder-3").parent == "autoencoder-2"
    assert registry.versions.get("clue-2").parent == "clue-1"


def test_ten_versions_are_listed_by_number_not_by_name(registry: Registry) -> None:
    for n in range(10):
        registry.versions.register(new_version(f"run-{n}"))
    assert [v.number for v in registry.versions.list()] == list(range(1, 11))


def test_registering_a_run_twice_gives_the_same_version_and_changes_nothing(registry: Registry) -> None:
    first = registry.versions.register(new_version())
    generation = read_generation(registry.database)
    assert registry.versions.register(new_version()) == first
    assert read_generation(registry.database) == generation
    assert len(registry.versions.list()) == 1


def test_registering_waits_for_the_retirement_of_its_parent(registry: Registry) -> None:
    """Neither may hold what the other one waits for: a registration comes at the end of hours of training."""
    registry.versions.register(new_version())
    with ThreadPoolExecutor(1) as threads:
        with registry.database.transaction() as session:
            values = {"state": VersionState.RETIRING, "kept": False}
            session.execute(update(EmbeddingVersionRow).values(values))
            registering = threads.submit(registry.versions.register, new_version("run-2"))
            assert wait([registering], timeout=0.3).not_done
            bump(session)
        assert registering.result().parent == "autoencoder-1"
    assert registry.versions.get("autoencoder-1").state is VersionState.RETIRING


def test_another_fingerprint_for_a_known_run_is_refused_with_both(registry: Registry) -> None:
    registry.versions.register(new_version(fingerprint="aaaa"))
    with pytest.raises(FingerprintMismatch, match=r"run-1 .*autoencoder-1.*aaaa.*bbbb"):
        registry.versions.register(new_version(fingerprint="bbbb"))
    assert registry.versions.get("autoencoder-1").fingerprint == "aaaa"


def test_what_a_tuple_or_a_numpy_number_became_is_what_register_returns(registry: Registry) -> None:
    new = new_version(config={"widths": (64, 32)}, metrics={"auc": np.float32(0.75)}, dimension=np.int64(8))
    registered = registry.versions.register(new)
    assert registered == registry.versions.get(registered.id)
    assert (registered.config, registered.metrics) == ({"widths": [64, 32]}, {"auc": 0.75})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"family": "Auto-Encoder"}, "family 'Auto-Encoder'"),
        ({"dimension": 0}, "dimension 0"),
        ({"fingerprint": ""}, "fingerprint is empty"),
        ({"fingerprint": "f" * 65}, "fingerprint has 65 characters"),
        ({"artifact": "/tmp/artifact"}, "artifact '/tmp/artifact': give a path relative to the home"),
        ({"artifact": "../artifact"}, "relative to the home"),
        ({"metrics": {"loss": float("nan")}}, "metric loss is nan"),
        ({"config": {"rate": float("inf")}}, "config cannot be kept as JSON"),
        ({"config": {"model": object()}}, "config cannot be kept as JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_value(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        new_version(**fields)


def test_a_time_without_zone_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidInput, match="no time zone"):
        registry.versions.register(new_version(data_to=datetime(2011, 6, 10)))
    assert registry.versions.list() == []


@pytest.mark.parametrize("unknown", ["autoencoder-9", "", "a\x00b", "\ud800"])
def test_an_unknown_version_is_answered_with_the_known_ones(registry: Registry, unknown: str) -> None:
    with pytest.raises(NotFound, match="known: none yet"):
        registry.versions.get(unknown)
    registry.versions.register(new_version())
    with pytest.raises(NotFound, match=r"known: autoencoder-1$"):
        registry.versions.get(unknown)


def test_versions_are_listed_by_state(registry: Registry) -> None:
    ready = ready_version(registry, "run-1")
    registered = registry.versions.register(new_version("run-2"))
    assert registry.versions.list([VersionState.READY]) == [ready]
    assert registry.versions.list({VersionState.REGISTERED}) == [registered]
    assert registry.versions.list([]) == []


def test_a_failed_version_keeps_its_first_reason(registry: Registry) -> None:
    registry.versions.register(new_version())
    failed = registry.versions.fail("autoencoder-1", "diverged")
    assert (failed.state, failed.failure) == (VersionState.FAILED, "diverged")
    generation = read_generation(registry.database)
    assert registry.versions.fail("autoencoder-1", "again") == failed
    assert read_generation(registry.database) == generation


def test_a_version_that_a_consumer_reads_cannot_fail(registry: Registry) -> None:
    ready_version(registry)
    for name in ("ranker", "ads"):
        registry.consumers.add(name, "team", "rank")
        registry.promotions.promote(name, "autoencoder-1", "first")
    with pytest.raises(Conflict, match="autoencoder-1 is read by ads, ranker"):
        registry.versions.fail("autoencoder-1", "broken")
    assert registry.versions.get("autoencoder-1").state is VersionState.READY


def test_evaluations_are_kept_in_order_and_belong_to_their_fingerprint(registry: Registry) -> None:
    version = ready_version(registry)

    def record(value: float, fingerprint: str = version.fingerprint) -> None:
        registry.versions.record_evaluation(
            version.id, fingerprint=fingerprint, task="churn", metric="auc", value=value, as_of=AS_OF
        )

    record(0.72)
    record(0.75)
    assert [(e.metric, e.value, e.as_of) for e in registry.versions.evaluations(version.id)] == [
        ("auc", 0.72, AS_OF),
        ("auc", 0.75, AS_OF),
    ]
    with pytest.raises(FingerprintMismatch, match=f"{version.fingerprint}.*other"):
        record(0.8, "other")
    with pytest.raises(InvalidInput, match="is nan"):
        record(float("nan"))
    with pytest.raises(NotFound):
        registry.versions.evaluations("autoencoder-9")
    assert len(registry.versions.evaluations(version.id)) == 2


def test_an_evaluation_names_the_data_that_it_was_measured_on(registry: Registry) -> None:
    version = registry.versions.register(new_version())

    def record(data_stamp: str | None) -> Evaluation:
        return registry.versions.record_evaluation(
            version.id,
            fingerprint=version.fingerprint,
            task="churn",
            metric="auc",
            value=0.75,
            as_of=AS_OF,
            data_stamp=data_stamp,
        )

    for recorded in (record("2011"), record(None)):
        assert recorded in registry.versions.evaluations(version.id)
    assert [e.data_stamp for e in registry.versions.evaluations(version.id)] == ["2011", None]
    for refused in ("", "d" * 129, "a\x00b"):
        with pytest.raises(InvalidInput, match="data_stamp"):
            record(refused)


def test_a_failed_version_is_kept_until_it_is_retired(registry: Registry) -> None:
    version = registry.versions.register(new_version())
    registry.versions.fail(version.id, "diverged")
    with registry.database.reading() as session:
        assert session.scalar(select(EmbeddingVersionRow.kept)) is True
    registry.retirements.begin(version.id)
    with registry.database.reading() as session:
        assert session.scalar(select(EmbeddingVersionRow.kept)) is False


@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.versions.register(new_version("run-2")),
        lambda registry: registry.versions.fail("autoencoder-1", "diverged"),
        lambda registry: registry.backfills.begin("autoencoder-1", "snapshot-1", AS_OF, 0),
    ],
)
def test_what_serving_shows_raises_the_generation(registry: Registry, change: Callable[[Registry], object]) -> None:
    registry.versions.register(new_version())
    before = read_generation(registry.database)
    change(registry)
    assert read_generation(registry.database) == before + 1
