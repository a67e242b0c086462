"""The chance of one schedule: everything that is drawn comes from its seed, and is told where somebody listens."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

FAULTS = (
    "pause",  # a step is paused between two of its calls, for as long as the scheduler likes
    "kill",  # a process ends between two of its calls, and begins again with what is durable
    "sql fails",  # the database does not take a transaction
    "sql commit fails",  # a transaction is rolled back at its end
    "sql answer lost",  # it committed, and its writer does not learn of it
    "store fails",  # the online store does not take a call
    "store answer lost",  # it did, and the caller does not learn of it
    "cut off",  # one process does not reach the store, or the database, for a while
    "store restarts",  # with or without its last writes
    "store emptied",  # FLUSHALL, or an empty server in its place
    "store restored",  # from an earlier backup
    "registry restored",  # from an earlier backup
    "row evicted",  # one user's rows vanish while the mark stays
    "clock jumps",  # of the database, forward or back
    "time passes",  # longer than a lease
    "encoder fails",  # of one version, for a while
    "forget",
    "assignments",  # promotions and a retirement
    "twice",  # deliveries are sent again
)


@dataclass
class Chance:
    """Draws from a seed; a schedule has a few kinds of faults, so that each of them comes often where it comes."""

    seed: int
    tell: Callable[[str], object] | None = None
    reached: Counter[str] = field(default_factory=Counter)  # the 'sometimes' states

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        draw = self.random.random
        share = 0.25 if draw() < 0.7 else 0.6
        self.faults = frozenset(fault for fault in FAULTS if draw() < share)

    def has(self, fault: str) -> bool:
        """Whether this schedule has such faults."""
        return fault in self.faults

    def of(self, share: float) -> bool:
        """Whether something happens that does so often."""
        return self.random.random() < share

    def one(self, things: Sequence[T]) -> T:
        """One of these."""
        return things[int(self.random.random() * len(things))]

    def weighed(self, things: Mapping[T, float]) -> T:
        """One of these, by weight."""
        return self.random.choices(list(things), list(things.values()))[0]

    def sometimes(self, state: str) -> None:
        """Count that a state was reached."""
        self.reached[state] += 1

    def say(self, line: str) -> None:
        """Tell a line of the schedule."""
        if self.tell is not None:
            self.tell(line)
