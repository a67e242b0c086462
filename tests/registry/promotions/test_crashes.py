"""`kill -9` at every point of every change: assignment, history, windows, generation and audit move together or not."""

import random
import signal
import time
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from portrait.registry.access.audit import AuditOutcome
from portrait.registry.database.tables import AuditEventRow, Instance, PromotionRow, RollbackWindowRow
from portrait.registry.records.records import Assignment, Promotion
from portrait.registry.registry import Registry
from portrait.registry.rows import assignment_row, consumer_row
from portrait.registry.serving_state.serving_state import read_generation
from tests.forks import FORKS
from tests.registry import killed_process as killed
from tests.registry.factories import ready_version


@pytest.fixture
def three(registry: Registry) -> Registry:
    """Three ready versions."""
    for n in range(1, 4):
        ready_version(registry, f"run-{n}")
    return registry.acting("ada")


def url_of(registry: Registry) -> str:
    return registry.database.url.render_as_string(hide_password=False)


def seen(registry: Registry, consumer: str) -> dict[str, Any]:
    """All that a change writes, without times and ids, after whoever still held the consumer is gone."""
    with registry.database.transaction() as session:
        consumer_row(session, consumer, lock=True)
        row = assignment_row(session, consumer)
        assignment = Assignment.from_row(row) if row else None
        history = [Promotion.from_row(row) for row in session.scalars(_rows(PromotionRow, consumer))]
        windows = {row.version for row in session.scalars(_rows(RollbackWindowRow, consumer))}
        events = session.scalars(select(AuditEventRow).where(AuditEventRow.subject == f"consumer {consumer}"))
        done = [event.detail for event in events if "revision" in event.detail]
        assert all(event.outcome == AuditOutcome.DONE for event in events)
        generation = session.scalars(select(Instance.generation)).one()
    require_agreement(assignment, history, done)
    return {
        "reads": assignment and (assignment.stable, assignment.canary, assignment.canary_share, assignment.revision),
        "history": [(row.kind, row.from_version, row.to_version, row.canary, row.reason) for row in history],
        "windows": windows,
        "audited": [detail["revision"] for detail in done],
        "generation": generation,
    }


def _rows(table: Any, consumer: str) -> Any:
    return select(table).where(table.consumer == consumer).order_by(*table.__table__.primary_key)


def require_agreement(assignment: Assignment | None, history: list[Promotion], done: list[dict[str, Any]]) -> None:
    """Assignment, the last promotion and the audit tell one story, without a gap."""
    if assignment is None:
        assert (history, done) == ([], [])
        return
    last = history[-1]
    assert (assignment.stable, assignment.canary, assignment.canary_share) == (
        last.to_version,
        last.canary,
        last.canary_share,
    )
    assert (assignment.revision, assignment.changed_at) == (last.revision, last.promoted_at)
    assert [row.revision for row in history] == list(range(1, len(history) + 1))
    assert [(detail["revision"], detail["to"], detail["canary"]) for detail in done] == [
        (row.revision, row.to_version, row.canary) for row in history
    ]


@pytest.mark.slow
@pytest.mark.parametrize("change", killed.CHANGES)
def test_a_change_that_is_killed_at_any_point_is_made_or_not(three: Registry, change: str) -> None:
    done = _undisturbed(three, change)
    outcomes = []
    for point in count(1):
        consumer = f"consumer_{point}"
        killed.prepare(three, consumer, change)
        before = seen(three, consumer)
        exit_code = _run(killed.die_at, url_of(three), consumer, change, point)
        after = seen(three, consumer)
        outcomes.append("unchanged" if after == before else "changed")
        if exit_code == 0:
            break
        assert exit_code == -signal.SIGKILL
        if after == before:
            killed.make(three, consumer, change)  # nothing half done is in the way
            after = seen(three, consumer)
        assert after == {**done, "generation": before["generation"] + 1}
    # Nobody was killed the last time; the time before that, after the commit.
    assert outcomes == ["unchanged"] * (len(outcomes) - 2) + ["changed"] * 2
    assert len(outcomes) > 12


def _undisturbed(registry: Registry, change: str) -> dict[str, Any]:
    """What the change looks like when nobody is killed."""
    killed.prepare(registry, "undisturbed", change)
    killed.make(registry, "undisturbed", change)
    return seen(registry, "undisturbed")


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_moment_leaves_agreement(three: Registry) -> None:
    chance = random.Random(1)
    lengths = []
    for n in range(10):
        consumer = f"consumer_{n}"
        three.consumers.add(consumer, "team", "")
        base = read_generation(three.database)
        process = FORKS.Process(target=killed.change_for_ever, args=(url_of(three), consumer))
        process.start()
        while not three.promotions.history(consumer):
            assert process.is_alive()
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.join()
        left = seen(three, consumer)
        assert left["generation"] == base + len(left["history"])
        lengths.append(len(left["history"]))
        another = "autoencoder-1" if left["reads"][0] != "autoencoder-1" else "autoencoder-2"
        assert three.promotions.promote(consumer, another).revision == len(left["history"]) + 1
    assert len(set(lengths)) > 1


def _run(target: Any, *arguments: Any) -> int | None:
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode
