from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

import registry.promotions as promotions_module
from infra.migrations import upgrade
from registry.assignments import read_generation
from registry.errors import Conflict, InvalidInput, NotFound
from registry.gates import POLICY
from registry.registry import Registry
from registry.tables import EmbeddingVersionRow, PromotionKind, VersionState
from registry.verdicts import Outcome
from tests.registry.factories import new_version, ready_version


@pytest.fixture
def three(registry: Registry) -> Registry:
    """A registry with a consumer and three ready versions."""
    registry.consumers.add("ads", "ads team", "bid")
    for run in ("run-1", "run-2", "run-3"):
        ready_version(registry, run)
    return registry


def stable(registry: Registry, consumer: str = "ads") -> str | None:
    assignment = registry.consumers.assignment(consumer)
    return assignment.stable if assignment else None


def test_a_promotion_writes_assignment_history_and_generation(three: Registry) -> None:
    generation = read_generation(three.database)
    promotion = three.promotions.promote("ads", "autoencoder-1", "ada", "first one")
    assert (promotion.revision, promotion.kind, promotion.from_version) == (1, PromotionKind.PROMOTE, None)
    assert (promotion.to_version, promotion.actor, promotion.reason) == ("autoencoder-1", "ada", "first one")
    assert [(verdict.gate, verdict.outcome) for verdict in promotion.gates] == [
        (gate.name, Outcome.ACCEPT) for gate in POLICY
    ]
    assignment = three.consumers.assignment("ads")
    assert assignment is not None
    assert (assignment.stable, assignment.canary, assignment.revision) == ("autoencoder-1", None, 1)
    assert assignment.changed_at == promotion.promoted_at
    assert three.promotions.history("ads") == [promotion]
    assert read_generation(three.database) == generation + 1


def test_consumers_move_on_their_own(three: Registry) -> None:
    three.consumers.add("search", "search team", "rank")
    for consumer in ("ads", "search"):
        three.promotions.promote(consumer, "autoencoder-1", "ada", "")
    three.promotions.promote("ads", "autoencoder-2", "ada", "")
    assert (stable(three, "ads"), stable(three, "search")) == ("autoencoder-2", "autoencoder-1")
    assert len(three.promotions.history("search")) == 1


def test_promoting_to_what_is_read_already_is_refused(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1", "ada", "")
    generation = read_generation(three.database)
    with pytest.raises(Conflict, match="ads already reads autoencoder-1"):
        three.promotions.promote("ads", "autoencoder-1", "ada", "")
    assert len(three.promotions.history("ads")) == 1
    assert read_generation(three.database) == generation


def test_a_stale_revision_is_refused_and_told_who_was_faster(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1", "ada", "", expected_revision=0)
    three.promotions.promote("ads", "autoencoder-2", "grace", "", expected_revision=1)
    with pytest.raises(Conflict, match=r"revision 2, not 1 \(grace made it read autoencoder-2 at 20"):
        three.promotions.promote("ads", "autoencoder-3", "ada", "", expected_revision=1)
    assert stable(three) == "autoencoder-2"


def test_gates_that_do_not_accept_keep_everything_as_it_is(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1", "ada", "")
    three.versions.register(new_version("run-4"))
    generation = read_generation(three.database)
    with pytest.raises(Conflict, match="autoencoder-4 is registered, not ready: run `portrait backfill autoencoder-4`"):
        three.promotions.promote("ads", "autoencoder-4", "ada", "")
    three.versions.fail("autoencoder-3", "diverged")
    with pytest.raises(Conflict, match=r"autoencoder-3 failed \(diverged\): promote another version"):
        three.promotions.promote("ads", "autoencoder-3", "ada", "")
    assert stable(three) == "autoencoder-1"
    assert len(three.promotions.history("ads")) == 1
    assert read_generation(three.database) == generation + 1  # the failing


def test_what_is_unknown_or_unsigned_is_refused(three: Registry) -> None:
    with pytest.raises(NotFound, match="no consumer 'adz'; known: ads"):
        three.promotions.promote("adz", "autoencoder-1", "ada", "")
    with pytest.raises(NotFound, match="no version 'autoencoder-9'; known: autoencoder-1, autoencoder-2"):
        three.promotions.promote("ads", "autoencoder-9", "ada", "")
    with pytest.raises(InvalidInput, match="actor is empty"):
        three.promotions.promote("ads", "autoencoder-1", " ", "")
    with pytest.raises(NotFound):
        three.promotions.history("adz")
    assert three.promotions.history("ads") == []


def test_rollbacks_go_back_one_promotion_each(three: Registry) -> None:
    for version in ("autoencoder-1", "autoencoder-2", "autoencoder-3"):
        three.promotions.promote("ads", version, "ada", "")
    first = three.promotions.rollback("ads", "grace", "worse clicks")
    assert (first.kind, first.from_version, first.to_version) == (
        PromotionKind.ROLLBACK,
        "autoencoder-3",
        "autoencoder-2",
    )
    assert (first.revision, first.actor, first.reason) == (4, "grace", "worse clicks")
    assert three.promotions.rollback("ads", "grace", "").to_version == "autoencoder-1"
    with pytest.raises(Conflict, match="ads has nothing to go back to"):
        three.promotions.rollback("ads", "grace", "")
    assert stable(three) == "autoencoder-1"


def test_a_promotion_after_a_rollback_is_undone_to_where_it_began(three: Registry) -> None:
    for version in ("autoencoder-1", "autoencoder-2"):
        three.promotions.promote("ads", version, "ada", "")
    three.promotions.rollback("ads", "ada", "")
    three.promotions.promote("ads", "autoencoder-3", "ada", "")
    assert three.promotions.rollback("ads", "ada", "").to_version == "autoencoder-1"


def test_a_consumer_that_reads_nothing_has_nothing_to_go_back_to(three: Registry) -> None:
    with pytest.raises(Conflict, match="nothing to go back to"):
        three.promotions.rollback("ads", "ada", "")


def test_a_rollback_to_a_version_that_is_gone_is_refused(three: Registry) -> None:
    for version in ("autoencoder-1", "autoencoder-2"):
        three.promotions.promote("ads", version, "ada", "")
    with three.database.transaction() as session:
        gone = update(EmbeddingVersionRow).where(EmbeddingVersionRow.id == "autoencoder-1")
        session.execute(gone.values(state=VersionState.RETIRED))
    with pytest.raises(Conflict, match="autoencoder-1 is retired: promote another version"):
        three.promotions.rollback("ads", "ada", "")
    assert stable(three) == "autoencoder-2"


def test_history_at_a_time_ends_with_what_was_read_then(three: Registry) -> None:
    first, second, third = (
        three.promotions.promote("ads", f"autoencoder-{n}", "ada", f"number {n}") for n in (1, 2, 3)
    )
    history = three.promotions.history
    assert history("ads") == [first, second, third]
    assert history("ads", at=second.promoted_at) == [first, second]
    assert history("ads", at=second.promoted_at - timedelta(microseconds=1)) == [first]
    assert history("ads", at=first.promoted_at - timedelta(microseconds=1)) == []
    with pytest.raises(InvalidInput, match="no time zone"):
        history("ads", at=datetime(2026, 1, 1))


def test_a_clock_that_runs_behind_does_not_disorder_history(three: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    first = three.promotions.promote("ads", "autoencoder-1", "ada", "")

    class Behind(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Behind":
            return super().now(tz) - timedelta(hours=1)

    monkeypatch.setattr(promotions_module, "datetime", Behind)
    second = three.promotions.promote("ads", "autoencoder-2", "ada", "")
    assert second.promoted_at == first.promoted_at
    assert three.promotions.history("ads", at=first.promoted_at)[-1].to_version == "autoencoder-2"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    path: Path = tmp_path_factory.mktemp("shared") / "registry.db"
    opened = Registry.open(f"sqlite:///{path}")
    upgrade(opened.database)
    for run in ("run-1", "run-2", "run-3"):
        ready_version(opened, run)
    yield opened
    opened.close()


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from(["autoencoder-1", "autoencoder-2", "autoencoder-3", "rollback"]), max_size=12))
def test_any_sequence_of_promotions_and_rollbacks_behaves_as_a_stack(shared: Registry, steps: list[str]) -> None:
    name = f"consumer_{len(shared.consumers.list())}"
    shared.consumers.add(name, "team", "")
    stack: list[str] = []
    reads: list[str] = []
    for step in steps:
        possible = len(stack) > 1 if step == "rollback" else step not in stack[-1:]
        if not possible:
            with pytest.raises(Conflict):
                _take(shared, name, step)
            continue
        stack = stack[:-1] if step == "rollback" else [*stack, step]
        _take(shared, name, step)
        reads.append(stack[-1])
        assert stable(shared, name) == stack[-1]
    history = shared.promotions.history(name)
    assert [row.revision for row in history] == list(range(1, len(reads) + 1))
    assert [row.to_version for row in history] == reads
    assert [row.from_version for row in history] == [None, *reads][: len(reads)]


def _take(registry: Registry, consumer: str, step: str) -> None:
    if step == "rollback":
        registry.promotions.rollback(consumer, "ada", "")
    else:
        registry.promotions.promote(consumer, step, "ada", "")
