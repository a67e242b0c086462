"""Fifty promotions at once, and promotions against retirements: never two winners, never both."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text, update

from portrait.registry.access.audit import Action, AuditOutcome
from portrait.registry.database.tables import GONE_STATES, RollbackWindowRow, VersionState
from portrait.registry.errors import Conflict, GateRefused
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, read_state
from tests.registry.factories import ready_version, with_versions

PROCESSES, THREADS, ROUNDS = 5, 10, 4
ROUNDS_OF_RETIREMENT = 12

_start: Any = None  # a barrier of all workers, in each process of the pool


@pytest.mark.slow
def test_of_fifty_promotions_from_one_revision_one_wins(registry: Registry) -> None:
    with_versions(registry, 6)
    generation, seen = read_generation(registry.database), registry.audit.list()[-1].id
    answers = _promote_everywhere(registry)
    history = registry.promotions.history("ads")
    assert [row.revision for row in history] == list(range(1, ROUNDS + 1))
    for round, winner in enumerate(history):
        refusals = [said[round] for said in answers if said[round]]
        assert len(refusals) == PROCESSES * THREADS - 1
        named = (
            f"consumer ads is at revision {round + 1}, not {round} ({winner.actor} made it read {winner.to_version} "
        )
        assert all(said.startswith(named) for said in refusals)
    assignment = registry.consumers.assignment("ads")
    assert assignment is not None
    assert (assignment.stable, assignment.revision) == (history[-1].to_version, ROUNDS)
    assert read_generation(registry.database) == generation + ROUNDS
    events = [event for event in registry.audit.list(after=seen) if event.action == Action.PROMOTE]
    done = [event for event in events if event.outcome is AuditOutcome.DONE]
    assert [(event.actor, event.detail["revision"]) for event in done] == [(row.actor, row.revision) for row in history]
    assert len(events) == PROCESSES * THREADS * ROUNDS


def _promote_everywhere(registry: Registry) -> list[list[str]]:
    """What each of the workers was told in each round; empty for the winner."""
    url = registry.database.url.render_as_string(hide_password=False)
    spawn = multiprocessing.get_context("spawn")
    start = (spawn.Barrier(PROCESSES * THREADS),)
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn, initializer=_share, initargs=start) as processes:
        runs = [processes.submit(_promote_in_threads, url, process) for process in range(PROCESSES)]
        return [said for run in runs for said in run.result()]


def _share(start: Any) -> None:
    global _start
    _start = start


def _promote_in_threads(url: str, process: int) -> list[list[str]]:
    registry = Registry.open(url)
    with ThreadPoolExecutor(THREADS) as threads:
        said = list(threads.map(lambda thread: _promote_in_rounds(registry, process, thread), range(THREADS)))
    registry.close()
    return said


def _promote_in_rounds(registry: Registry, process: int, thread: int) -> list[str]:
    promotions = registry.acting(f"worker {process}/{thread}").promotions
    said = []
    for round in range(ROUNDS):
        # Never the version that the round before may have chosen.
        version = f"autoencoder-{(process + thread) % 3 + 1 + 3 * (round % 2)}"
        _start.wait()
        try:
            promotions.promote("ads", version, expected_revision=round)
            said.append("")
        except Conflict as error:
            said.append(str(error))
    return said


def promote(registry: Registry, consumer: str, version: str) -> object:
    return registry.promotions.promote(consumer, version)


def begin_canary(registry: Registry, consumer: str, version: str) -> object:
    return registry.promotions.promote(consumer, version, canary_share=0.1)


def roll_back(registry: Registry, consumer: str, version: str) -> object:
    return registry.promotions.rollback(consumer)


def retire(registry: Registry, version: str) -> object:
    return registry.retirements.begin(version)


def retire_by_hand(registry: Registry, version: str) -> object:
    with registry.database.transaction() as session:
        statement = text("UPDATE embedding_versions SET state = 'retired', kept = :kept WHERE id = :id")
        return session.execute(statement, {"kept": False, "id": version})


@pytest.mark.parametrize("ending", [retire, retire_by_hand])
@pytest.mark.parametrize("taking", [promote, begin_canary, roll_back])
def test_a_version_is_never_both_taken_and_retired(
    registry: Registry,
    taking: Callable[[Registry, str, str], object],
    ending: Callable[[Registry, str], object],
) -> None:
    ready_version(registry, "base")
    for n in range(ROUNDS_OF_RETIREMENT):
        version, consumer = ready_version(registry, f"run-{n}").id, f"consumer_{n}"
        _prepare(registry, consumer, version if taking is roll_back else None)
        start = Barrier(2)
        with ThreadPoolExecutor(2) as threads:
            # Now one, now the other is in the queue first.
            attempts = [lambda: taking(registry, consumer, version), lambda: ending(registry, version)]  # noqa: B023
            order = attempts if n % 2 else attempts[::-1]
            futures = {attempt: threads.submit(_won, start, attempt) for attempt in order}
            taken, ended = (futures[attempt].result() for attempt in attempts)
        assert taken != ended
        state = read_state(registry.database)
        assignment = state.assignments[consumer]
        assert (version in (assignment.stable, assignment.canary)) == taken
        assert (state.versions[version].state in GONE_STATES) == ended


def _prepare(registry: Registry, consumer: str, left: str | None) -> None:
    """A consumer that reads the base version, after `left`, whose rollback window has ended."""
    registry.consumers.add(consumer, "team", "")
    if left is not None:
        registry.promotions.promote(consumer, left)
    registry.promotions.promote(consumer, "autoencoder-1")
    with registry.database.transaction() as session:
        ended = datetime.now(UTC) - timedelta(days=1)
        session.execute(update(RollbackWindowRow).values(until=ended))


def _won(start: Barrier, attempt: Callable[[], object]) -> bool:
    start.wait()
    try:
        attempt()
    except Conflict:  # GateRefused is one, and so is what the database refuses
        return False
    return True


@pytest.mark.parametrize("pin", ["stable", "canary", "rollback window"])
def test_the_database_itself_refuses_to_retire_what_is_pinned(registry: Registry, pin: str) -> None:
    acting = with_versions(registry, 3)
    acting.promotions.promote("ads", "autoencoder-1")
    acting.promotions.promote("ads", "autoencoder-2")
    acting.promotions.promote("ads", "autoencoder-3", canary_share=0.1)
    pinned = {"rollback window": "autoencoder-1", "stable": "autoencoder-2", "canary": "autoencoder-3"}[pin]
    with pytest.raises(Conflict, match="refused a change that contradicts another one"):
        retire_by_hand(registry, pinned)
    assert registry.versions.get(pinned).state is VersionState.READY


@pytest.mark.parametrize("values", ["state = 'retired'", "state = 'retiring'", "kept = :no"])
def test_the_pin_cannot_be_talked_round(registry: Registry, values: str) -> None:
    with_versions(registry, 1).promotions.promote("ads", "autoencoder-1")
    with pytest.raises(Conflict, match="contradicts"), registry.database.transaction() as session:
        session.execute(
            text(f"UPDATE embedding_versions SET {values}").bindparams(**({"no": False} if ":no" in values else {}))
        )


def test_what_nothing_pins_may_be_retired(registry: Registry) -> None:
    acting = with_versions(registry, 2)
    acting.promotions.promote("ads", "autoencoder-1")
    acting.promotions.promote("ads", "autoencoder-2", canary_share=0.1)
    acting.promotions.abort_canary("ads")
    retire_by_hand(registry, "autoencoder-2")
    assert registry.versions.get("autoencoder-2").state is VersionState.RETIRED
    with pytest.raises(GateRefused, match="autoencoder-2 is retired"):
        acting.promotions.promote("ads", "autoencoder-2", "hurry", force=True)
