"""The wire of one process to the database and to the store: where it is paused, cut off, killed, or not answered."""

from dataclasses import dataclass, field

from portrait.registry.errors import Unavailable
from tests.simulation.chance import Chance
from tests.simulation.steps import Killed, Steps

FAIL, KILL = 0.06, 0.04
"""Shares of the calls that fail, or after which a process ends, in schedules that have such faults."""


@dataclass
class Clock:
    """The time of a schedule in seconds, and how far the database's clock is off."""

    now: float = 1_000.0
    off: float = 0.0


@dataclass
class Wire:
    """The calls of one process, each with a moment before and one after it."""

    owner: str
    chance: Chance
    steps: Steps
    mortal: bool = True  # whether the process may be killed at a call
    cut: set[str] = field(default_factory=set)  # "sql", "store"
    calm: bool = False  # no faults any more

    def before(self, what: str, kind: str) -> None:
        """Before a call: `what` is sql or store, `kind` its name."""
        self.steps.seam()
        if self.calm:
            return
        if what in self.cut:
            self.chance.sometimes(f"{what} out of reach of one process")
            raise Unavailable(f"{what} is out of reach of {self.owner}")
        self._fail(f"{what} fails", kind)

    def before_commit(self) -> None:
        """Before a transaction commits."""
        if not self.calm:
            self._fail("sql commit fails", "commit")

    def after(self, what: str, kind: str) -> None:
        """After a call has had its effect."""
        if self.calm:
            return
        if self.mortal and self.chance.has("kill") and self.chance.of(KILL) and self.steps.now is not None:
            self.chance.sometimes(f"killed after {kind}")
            self.chance.say(f"  {self.owner} is killed after {kind}")
            self.steps.now.killed = True
            raise Killed
        self._fail(f"{what} answer lost", kind)

    def _fail(self, fault: str, kind: str) -> None:
        chance = self.chance
        if chance.has(fault) and chance.of(FAIL):
            chance.sometimes(fault)
            chance.say(f"  {self.owner}: {fault} at {kind}")
            raise Unavailable(f"{fault} at {kind}")
