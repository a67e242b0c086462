"""Rollbacks, and the windows that keep the versions to go back to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from portrait.infra.migrations import upgrade
from portrait.registry.database.tables import (
    EmbeddingVersionRow,
    PromotionKind,
    PromotionRow,
    RollbackWindowRow,
    VersionState,
)
from portrait.registry.errors import Conflict, GateRefused, NotFound
from portrait.registry.gates.policy import ROLLBACK_POLICY
from portrait.registry.promotions.rollback_windows import ROLLBACK_WINDOW
from portrait.registry.records.evidence_facts import ArtifactFacts
from portrait.registry.registry import Registry
from tests.registry.factories import reads, ready_version, vector_facts, with_versions

VERSIONS = ["autoencoder-1", "autoencoder-2", "autoencoder-3"]


@pytest.fixture
def three(registry: Registry) -> Registry:
    """A registry acting for ada, with a consumer and three ready versions."""
    return with_versions(registry, 3)


def windows(registry: Registry, consumer: str = "ads") -> dict[str, datetime]:
    """Until when each version is kept for the consumer."""
    statement = select(RollbackWindowRow).where(RollbackWindowRow.consumer == consumer)
    with registry.database.reading() as session:
        return {row.version: row.until for row in session.scalars(statement)}


def test_rollbacks_go_back_one_promotion_each(three: Registry) -> None:
    for version in VERSIONS:
        three.promotions.promote("ads", version)
    assert three.promotions.rollback_target("ads") == "autoencoder-2"
    first = three.acting("grace").promotions.rollback("ads", "worse clicks")
    assert (first.kind, first.from_version, first.to_version) == (
        PromotionKind.ROLLBACK,
        "autoencoder-3",
        "autoencoder-2",
    )
    assert (first.revision, first.actor, first.reason) == (4, "grace", "worse clicks")
    assert [verdict.gate for verdict in first.gates] == [gate.name for gate in ROLLBACK_POLICY]
    assert three.promotions.rollback("ads").to_version == "autoencoder-1"
    for ask in (three.promotions.rollback, three.promotions.rollback_target):
        with pytest.raises(Conflict, match="ads has nothing to go back to: promote another version"):
            ask("ads")
        with pytest.raises(NotFound, match="no consumer 'adz'"):
            ask("adz")
    assert reads(three) == ("autoencoder-1", None, None)


def test_a_promotion_after_a_rollback_is_undone_to_where_it_began(three: Registry) -> None:
    for version in VERSIONS[:2]:
        three.promotions.promote("ads", version)
    three.promotions.rollback("ads")
    three.promotions.promote("ads", "autoencoder-3")
    assert three.promotions.rollback("ads").to_version == "autoencoder-1"


def test_a_finished_canary_is_undone_like_a_promotion_and_an_aborted_one_is_nothing(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1")
    three.promotions.promote("ads", "autoencoder-3", canary_share=0.1)
    three.promotions.abort_canary("ads")
    with pytest.raises(Conflict, match="nothing to go back to"):
        three.promotions.rollback("ads")
    three.promotions.promote("ads", "autoencoder-2", canary_share=0.1)
    three.promotions.finish_canary("ads")
    assert three.promotions.rollback("ads").to_version == "autoencoder-1"


def test_a_rollback_ends_an_open_canary(three: Registry) -> None:
    for version in VERSIONS[:2]:
        three.promotions.promote("ads", version)
    three.promotions.promote("ads", "autoencoder-3", canary_share=0.5)
    back = three.promotions.rollback("ads")
    assert (back.to_version, back.canary, back.canary_share) == ("autoencoder-1", None, None)
    assert reads(three) == ("autoencoder-1", None, None)


def test_a_rollback_asks_nothing_of_the_newest_version(three: Registry) -> None:
    for version in VERSIONS[:2]:
        three.promotions.promote("ads", version)
    three.evidence.record("autoencoder-2", ArtifactFacts(False, None, "gone"), vector_facts(users_embedded=0))
    assert three.promotions.rollback("ads").to_version == "autoencoder-1"


def test_a_lagging_version_may_be_gone_back_to_and_says_what_to_run(three: Registry) -> None:
    for version in VERSIONS[:2]:
        three.promotions.promote("ads", version)
    lagging = vector_facts(1000, users_embedded=10, watermark_lag=276_480.0, refresh_lag=3_600.0, users_behind=4)
    three.evidence.record("autoencoder-1", lagging)
    back = three.promotions.rollback("ads")
    assert not back.forced
    assert str(back.gates[-1]) == (
        "version autoencoder-1 trails the log by 3.2 days, 4 users' vectors by up to 1 hour: "
        "run `portrait backfill autoencoder-1` after the rollback"
    )


def test_a_rollback_to_what_is_broken_is_refused(three: Registry) -> None:
    for version in VERSIONS[:2]:
        three.promotions.promote("ads", version)
    three.evidence.record("autoencoder-1", vector_facts(users_embedded=4))
    with pytest.raises(
        GateRefused, match=r"4 of 10 users looked at have a vector of autoencoder-1, 10 of them had one"
    ):
        three.promotions.rollback("ads")
    three.evidence.record("autoencoder-1", ArtifactFacts(False, None, "weights are gone"))
    with pytest.raises(GateRefused, match=r"does not load \(weights are gone\).*no force passes over that") as refusal:
        three.promotions.rollback("ads", "hurry", force=True)
    assert [verdict.gate for verdict in refusal.value.verdicts] == [gate.name for gate in ROLLBACK_POLICY]
    three.evidence.record("autoencoder-1", ArtifactFacts(True, "fingerprint-of-run-1"))
    assert three.promotions.rollback("ads", "some vectors are better than none", force=True).forced
    assert reads(three) == ("autoencoder-1", None, None)


def test_a_rollback_to_a_version_that_is_gone_is_refused(three: Registry) -> None:
    for version in VERSIONS[:2]:
        three.promotions.promote("ads", version)
    with three.database.transaction() as session:
        gone = update(EmbeddingVersionRow).where(EmbeddingVersionRow.id == "autoencoder-1")
        session.execute(delete(RollbackWindowRow))
        session.execute(gone.values(state=VersionState.RETIRED, kept=False))
    with pytest.raises(GateRefused, match="autoencoder-1 is retired: promote another version"):
        three.promotions.rollback("ads", "hurry", force=True)
    assert reads(three) == ("autoencoder-2", None, None)


def test_a_version_that_was_left_is_kept_for_fourteen_days(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1")
    assert windows(three) == {}
    second = three.promotions.promote("ads", "autoencoder-2")
    assert windows(three) == {"autoencoder-1": second.promoted_at + timedelta(days=14)}
    three.promotions.promote("ads", "autoencoder-3", canary_share=0.1)
    third = three.promotions.finish_canary("ads")
    assert windows(three) == {
        "autoencoder-1": second.promoted_at + timedelta(days=14),
        "autoencoder-2": third.promoted_at + timedelta(days=14),
    }
    three.promotions.promote("ads", "autoencoder-1", canary_share=0.1)
    three.promotions.abort_canary("ads")
    assert len(windows(three)) == 2
    three.promotions.rollback("ads")
    assert windows(three) == {"autoencoder-1": second.promoted_at + timedelta(days=14)}
    three.promotions.rollback("ads")
    assert windows(three) == {}


def test_a_version_on_the_way_back_stays_kept_after_a_second_stay_is_undone(three: Registry) -> None:
    first, second = VERSIONS[:2]
    three.promotions.promote("ads", first)
    left = three.promotions.promote("ads", second).promoted_at
    three.promotions.promote("ads", first)
    assert first not in windows(three)
    three.promotions.rollback("ads")
    assert windows(three) == {first: left + ROLLBACK_WINDOW}


def test_windows_that_ended_go_with_the_next_change(three: Registry) -> None:
    for version in VERSIONS[:2]:
        three.promotions.promote("ads", version)
    long_ago = datetime.now(UTC) - timedelta(days=15)
    with three.database.transaction() as session:
        session.execute(update(PromotionRow).values(promoted_at=long_ago))
        session.execute(update(RollbackWindowRow).values(until=long_ago + ROLLBACK_WINDOW))
    assert three.promotions.rollback_target("ads") == "autoencoder-1"
    three.promotions.promote("ads", "autoencoder-3")
    assert list(windows(three)) == ["autoencoder-2"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    path: Path = tmp_path_factory.mktemp("shared") / "registry.db"
    opened = Registry.open(f"sqlite:///{path}")
    upgrade(opened.database)
    for run in ("run-1", "run-2", "run-3"):
        ready_version(opened, run)
    yield opened
    opened.close()


STEPS = st.one_of(
    st.tuples(st.just("promote"), st.sampled_from(VERSIONS)),
    st.tuples(st.just("canary"), st.sampled_from(VERSIONS)),
    st.tuples(st.sampled_from(["finish", "abort", "rollback"]), st.just("")),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=14))
def test_any_sequence_of_changes_behaves_as_a_stack(shared: Registry, steps: list[tuple[str, str]]) -> None:
    name = f"consumer_{len(shared.consumers.list())}"
    shared.consumers.add(name, "team", "")
    stack: list[str] = []
    canary: str | None = None
    seen: list[tuple[str, str | None]] = []
    for step, version in steps:
        after = _expected(stack, canary, step, version)
        if after is None:
            with pytest.raises(Conflict):
                _take(shared, name, step, version)
            continue
        stack, canary = after
        _take(shared, name, step, version)
        seen.append((stack[-1], canary))
        assert reads(shared, name)[:2] == (stack[-1], canary)
        assert set(windows(shared, name)) == {left for left in stack if left != stack[-1]}
    history = shared.promotions.history(name)
    assert [row.revision for row in history] == list(range(1, len(seen) + 1))
    assert [(row.to_version, row.canary) for row in history] == seen
    assert all(later.from_version == earlier.to_version for earlier, later in pairwise(history))


def _expected(stack: list[str], canary: str | None, step: str, version: str) -> tuple[list[str], str | None] | None:
    """Stack and canary after a step, by the words of the contract; None where it is refused."""
    match step:
        case "promote":
            return ([*stack, version], None) if version not in stack[-1:] else None
        case "canary":
            possible = bool(stack) and version != stack[-1] and canary is None
            return (stack, version) if possible else None
        case "finish":
            return ([*stack, canary], None) if canary else None
        case "abort":
            return (stack, None) if canary else None
        case _:
            return (stack[:-1], None) if len(stack) > 1 else None


def _take(registry: Registry, consumer: str, step: str, version: str) -> None:
    match step:
        case "promote":
            registry.promotions.promote(consumer, version)
        case "canary":
            registry.promotions.promote(consumer, version, canary_share=0.25)
        case "finish":
            registry.promotions.finish_canary(consumer)
        case "abort":
            registry.promotions.abort_canary(consumer)
        case _:
            registry.promotions.rollback(consumer)
