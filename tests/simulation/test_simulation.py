"""A few hundred schedules of the simulation, and the simulation's own promises: it repeats itself, and it sees bugs."""

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.chance import Chance
from tests.simulation.many import hunt
from tests.simulation.planting import planted
from tests.simulation.schedule import run

SCHEDULES = 60
QUICK = ("the first row of a batch is passed over", "histories and vectors are written without a fence")


def test_schedules_end_as_the_reference_says() -> None:
    """None of these seeds fails; what they reached is not nothing."""
    reached: set[str] = set()
    for seed in range(1, SCHEDULES + 1):
        outcome = run(seed)
        assert outcome.good, f"{outcome.problem}: python -m tests.simulation --schedules 1 --seed {seed}"
        reached |= outcome.reached.keys()
    assert {"paused between two calls", "sql answer lost", "delivered twice", "forgotten"} <= reached


def test_a_seed_tells_the_same_schedule_again() -> None:
    def told(seed: int) -> list[str]:
        lines: list[str] = []
        run(seed, lines.append)
        return lines

    seed = next(seed for seed in range(1, 1000) if Chance(seed).faults.issuperset({"pause", "kill", "forget"}))
    assert told(seed) == told(seed)
    assert told(seed) != told(seed + 1)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_bug_can_be_planted(bug: object) -> None:
    """The words that it changes are in the program."""
    with planted(bug):  # type: ignore[arg-type]
        pass


def test_no_bug_is_planted_twice() -> None:
    assert len(BUGS) >= 40
    assert len({bug.name for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str) -> None:
    number = next(number for number, bug in enumerate(BUGS) if bug.name == name)
    caught = hunt(number, patience=20)
    assert caught.outcome is not None and caught.outcome.check in ("history", "log", "old epoch", "rest")
    assert run(caught.outcome.seed).good  # without the bug
