"""Many schedules in several processes: what they reached, which failed; and planted bugs until they are caught."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from tests.simulation.bugs import BUGS
from tests.simulation.chance import Chance
from tests.simulation.planting import planted
from tests.simulation.schedule import Outcome, run

AT_ONCE = 50
"""Schedules in one piece of work."""

PATIENCE = 2_000
"""Schedules after which a bug counts as not caught."""


@dataclass
class Tally:
    """What came of the schedules so far."""

    schedules: int = 0
    reached: Counter[str] = field(default_factory=Counter)  # schedules in which a state was reached
    failed: list[Outcome] = field(default_factory=list)


def pieces(first: int, schedules: int, workers: int) -> Iterator[Tally]:
    """Run the schedules of so many seeds from the first one; yields what each piece of them came to."""
    starts = range(first, first + schedules, AT_ONCE)
    with _pool(workers) as pool:
        work = [pool.submit(_piece, start, min(AT_ONCE, first + schedules - start)) for start in starts]
        for done in as_completed(work):
            yield done.result()


def _piece(first: int, schedules: int) -> Tally:
    tally = Tally()
    for seed in range(first, first + schedules):
        outcome = run(seed)
        tally.schedules += 1
        tally.reached.update(dict.fromkeys(outcome.reached, 1))
        if not outcome.good:
            tally.failed.append(outcome)
    return tally


@dataclass(frozen=True)
class Caught:
    """How a bug was caught, and after how many schedules; without an outcome it was not."""

    bug: int  # its place in BUGS
    schedules: int
    outcome: Outcome | None


def hunts(workers: int, bugs: list[int]) -> Iterator[Caught]:
    """Plant one bug after the other until each is caught."""
    with _pool(workers) as pool:
        for done in as_completed([pool.submit(hunt, number) for number in bugs]):
            yield done.result()


def hunt(number: int, patience: int = PATIENCE) -> Caught:
    """Run schedules with a bug until one fails; only such as have the faults without which nobody can see it."""
    bug, tried, seed = BUGS[number], 0, 0
    with planted(bug):
        while tried < patience:
            seed += 1
            if not Chance(seed).faults.issuperset(bug.needs):
                continue
            tried += 1
            outcome = run(seed)
            if not outcome.good:
                return Caught(number, tried, outcome)
    return Caught(number, tried, None)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
