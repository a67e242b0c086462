"""Several processes with several threads each, on one consumer, one backfill and one family."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier
from typing import TypeVar

from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Conflict
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, read_state
from tests.registry.factories import AS_OF, new_version, ready_version

T = TypeVar("T")

PROCESSES = 3
THREADS = 4
WORKERS = [(process, thread) for process in range(PROCESSES) for thread in range(THREADS)]


def test_promotions_of_one_consumer_leave_no_gap_and_no_double(registry: Registry) -> None:
    registry.consumers.add("ads", "team", "")
    for n in range(3):
        ready_version(registry, f"run-{n}")
    before = read_generation(registry.database)
    outcomes = _everywhere(registry, _promote_and_roll_back)
    won = [revision for outcome in outcomes for revision in outcome]
    history = registry.promotions.history("ads")
    assert [row.revision for row in history] == list(range(1, len(history) + 1))
    assert sorted(won) == [row.revision for row in history]
    assert history[0].from_version is None
    assert all(later.from_version == earlier.to_version for earlier, later in pairwise(history))
    assert all(later.promoted_at >= earlier.promoted_at for earlier, later in pairwise(history))
    assignment = registry.consumers.assignment("ads")
    assert assignment is not None
    assert (assignment.stable, assignment.revision) == (history[-1].to_version, history[-1].revision)
    assert read_generation(registry.database) == before + len(history)


def test_consumers_that_cross_between_the_same_versions_never_wait_in_a_circle(registry: Registry) -> None:
    for n in range(3):
        ready_version(registry, f"run-{n}")
    for n in range(4):
        registry.consumers.add(f"consumer_{n}", "team", "")
        registry.promotions.promote(f"consumer_{n}", f"autoencoder-{n % 2 + 1}")
    with ThreadPoolExecutor(6) as threads:
        crossing = [threads.submit(_cross, registry, n) for n in range(4)]
        retiring = [threads.submit(_try_to_retire, registry, f"autoencoder-{n}") for n in (1, 2)]
        refusals = [said for running in crossing + retiring for said in running.result()]
    assert all("is pinned" in said or "pinned by somebody else at this moment" in said for said in refusals)
    for n in range(4):
        assert len(registry.promotions.history(f"consumer_{n}")) == 25


def test_registrations_at_once_get_numbers_of_their_own(registry: Registry) -> None:
    registered = [id for ids in _everywhere(registry, _register) for id in ids]
    versions = registry.versions.list()
    assert [version.number for version in versions] == list(range(1, len(WORKERS) + 2))
    assert [version.parent for version in versions[1:]] == [version.id for version in versions[:-1]]
    assert len(set(registered)) == len(WORKERS) + 1  # each worker's own run, and the one that they share


def test_buckets_done_at_once_are_all_counted(registry: Registry) -> None:
    registry.versions.register(new_version())
    backfill = registry.backfills.begin("autoencoder-1", "snapshot-1", AS_OF, 64)
    _everywhere(registry, _do_buckets)
    assert registry.backfills.finish(backfill.id).buckets_done == dict.fromkeys(range(64), 1)


def test_promoting_against_failing_never_does_both(registry: Registry) -> None:
    for n in range(1, 13):
        version = ready_version(registry, f"run-{n}").id
        registry.consumers.add(f"consumer_{n}", "team", "")
        start = Barrier(2)
        with ThreadPoolExecutor(2) as threads:
            promoted = threads.submit(_attempt, start, _promoter(registry, f"consumer_{n}", version))
            failed = threads.submit(_attempt, start, _failer(registry, version))
        assert promoted.result() != failed.result()
        state = read_state(registry.database)
        assert (f"consumer_{n}" in state.assignments) == promoted.result()
        assert (state.versions[version].state is VersionState.FAILED) == failed.result()


def test_readers_see_one_moment(registry: Registry) -> None:
    registry.consumers.add("ads", "team", "")
    for n in range(2):
        ready_version(registry, f"run-{n}")
    base = read_generation(registry.database)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(_switch, registry, 40)
        while not writing.done():
            state = read_state(registry.database)
            assignment = state.assignments.get("ads")
            assert state.generation == base + (assignment.revision if assignment else 0)
        writing.result()


def _everywhere(registry: Registry, work: Callable[[Registry, int, int], list[T]]) -> list[list[T]]:
    """`work` in every thread of every process; spawned, because forked ones would share our connections."""
    url = registry.database.url.render_as_string(hide_password=False)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as processes:
        runs = [processes.submit(_in_threads, url, process, work) for process in range(PROCESSES)]
        return [result for run in runs for result in run.result()]


def _in_threads(url: str, process: int, work: Callable[[Registry, int, int], list[T]]) -> list[list[T]]:
    registry = Registry.open(url)
    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(lambda thread: work(registry, process, thread), range(THREADS)))
    registry.close()
    return results


def _cross(registry: Registry, worker: int) -> list[str]:
    consumer, versions = f"consumer_{worker}", ["autoencoder-1", "autoencoder-2"]
    here, there = versions[worker % 2], versions[1 - worker % 2]
    for _ in range(4):
        registry.promotions.promote(consumer, there)
        registry.promotions.promote(consumer, here, canary_share=0.1)
        registry.promotions.finish_canary(consumer)
        registry.promotions.rollback(consumer)
        registry.promotions.promote(consumer, "autoencoder-3")
        registry.promotions.promote(consumer, here)
    return []


def _try_to_retire(registry: Registry, version: str) -> list[str]:
    refusals = []
    for _ in range(10):
        try:
            registry.retirements.begin(version)
        except Conflict as error:
            refusals.append(str(error))
    return refusals


def _promote_and_roll_back(registry: Registry, process: int, thread: int) -> list[int]:
    promotions = registry.acting(f"{process}/{thread}").promotions
    won = []
    for step in range(6):
        version = f"autoencoder-{(process + thread + step) % 3 + 1}"
        try:
            if step % 3 == 2:
                promotion = promotions.rollback("ads")
            elif step % 3 == 1 and thread % 2:
                promotion = promotions.promote("ads", version, canary_share=0.1 + step / 10)
            else:
                promotion = promotions.promote("ads", version)
        except Conflict:
            continue
        won.append(promotion.revision)
    return won


def _register(registry: Registry, process: int, thread: int) -> list[str]:
    runs = [f"run-{process}-{thread}", "run-of-all"]
    return [registry.versions.register(new_version(run)).id for run in runs]


def _do_buckets(registry: Registry, process: int, thread: int) -> list[int]:
    mine = range(WORKERS.index((process, thread)), 64, len(WORKERS))
    return [registry.backfills.bucket_done(1, bucket, 1).id for bucket in mine]


def _attempt(start: Barrier, change: Callable[[], object]) -> bool:
    start.wait()
    try:
        change()
    except Conflict:
        return False
    return True


def _promoter(registry: Registry, consumer: str, version: str) -> Callable[[], object]:
    return lambda: registry.promotions.promote(consumer, version)


def _failer(registry: Registry, version: str) -> Callable[[], object]:
    return lambda: registry.versions.fail(version, "broken")


def _switch(registry: Registry, times: int) -> None:
    for n in range(times):
        registry.promotions.promote("ads", f"autoencoder-{n % 2 + 1}")
