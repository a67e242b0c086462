"""One round: a copy of the instance, a stream of events, kills, and checks of the result."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from portrait.infra.portrait import Portrait
from portrait.registry.errors import PortraitError
from tests.torture import traffic
from tests.torture.chaos import Chaos, Strike, Victim, plan
from tests.torture.checks import Findings, backlog, check, event_ids
from tests.torture.copies import Instance, instance
from tests.torture.ledger import Ledger
from tests.torture.processes import Serving
from tests.torture.restart import Restart, watch
from tests.torture.sender import Senders
from tests.torture.template import CONSUMERS, Place

RATE = 800.0
"""Events a second that are sent while everything works."""

END_SECONDS = 15.0
"""How long processes may take to end after `portrait serve` has."""


@dataclass(frozen=True)
class Round:
    """What happens in a round; the same values make the same one, but for the machine's own timing."""

    seed: int
    events: int
    kills: int
    postgres: str = ""  # URL of the server on which the registry lies; else it is SQLite
    broker: bool = False  # events go through streams of the round's Redis instead of straight into the inbox
    limit: float = 600.0  # seconds until it is given up

    @classmethod
    def from_seed(cls, seed: int, events: int, kills: int, postgres: str) -> "Round":
        """What a seed asks for: every other round is on Postgres, and two of four use the broker."""
        return cls(seed, events, kills, postgres if seed % 2 else "", broker=seed // 2 % 2 == 1)

    @property
    def stack(self) -> str:
        """What it stands on, beside Redis as the online store."""
        return f"{'Postgres' if self.postgres else 'SQLite'}{', broker' if self.broker else ''}"


@dataclass
class Outcome:
    """What came of a round."""

    round: Round
    kills: Counter[Victim] = field(default_factory=Counter)
    sent: int = 0  # events
    answered: int = 0  # events of requests that were answered 202
    known: int = 0  # of them, as known already
    failures: int = 0  # requests without a good answer, which were sent again
    findings: Findings = field(default_factory=Findings)
    restarts: list[Restart] = field(default_factory=list)  # the first is the start of the round
    seconds: float = 0.0
    drained: float = 0.0  # seconds from the last answer until nothing waited
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything is as it should be."""
        return self.findings.good and not self.faults and self.answered == self.sent


def run(one: Round, source: Place) -> Outcome:
    """Run a round on a copy of `source`."""
    began = time.monotonic()
    outcome, ledger = Outcome(one), Ledger()
    strikes = plan(one.seed, one.events, one.kills, one.broker)
    planned = {victim for strike in strikes for victim in strike.victims}
    shards = 2 if Victim.FROZEN in planned else 1  # so that another one takes its leases
    small, wanted = Victim.FULL in planned, lambda: not outcome.good
    with instance(source, one.postgres, one.broker, wanted, shards, small) as copied:
        try:
            with Serving.running(copied.environment, copied.place.output) as serving:
                _stream(outcome, strikes, ledger, copied, serving, began + one.limit)
                _stop(outcome, serving)
            with Portrait.open(copied.settings) as portrait:
                outcome.findings = check(portrait, ledger, copied.before)
        except PortraitError as error:
            outcome.faults.append(str(error))
        outcome.sent, outcome.answered = len(ledger.sent), len(ledger.answered)
        outcome.known, outcome.failures = ledger.known, ledger.failures
        outcome.faults += ledger.complaints
        if not outcome.good:
            outcome.faults.append(f"logs and home are left in {copied.place.folder}")
    outcome.seconds = time.monotonic() - began
    return outcome


def _stream(
    outcome: Outcome, strikes: Sequence[Strike], ledger: Ledger, copied: Instance, serving: Serving, until: float
) -> None:
    one, url = outcome.round, copied.url

    def came_back(started: float) -> None:
        event = traffic.late_event(one.seed, len(outcome.restarts), copied.users[0])
        outcome.restarts.append(watch(serving, url, CONSUMERS[0], event, ledger, started))

    started = time.monotonic()
    serving.start()
    came_back(started)
    events = traffic.events(one.seed, one.events, copied.users)
    senders = Senders(url, traffic.batches(one.seed, events), ledger, RATE, one.seed)
    chaos = Chaos(strikes, ledger, serving, copied.store, copied.network, copied.disk, came_back)
    senders.start()
    chaos.start()
    try:
        while chaos.failure is None and not senders.join(min(time.monotonic() + 1.0, until)):
            if time.monotonic() > until:
                outcome.faults.append("not every event was answered in time")
                break
        if not chaos.join(until):
            outcome.faults.append("the kills were not over in time")
    finally:
        senders.stop()
        chaos.stop()
    outcome.kills = chaos.kills
    if chaos.failure is not None:
        raise chaos.failure
    outcome.drained = _drain(outcome, ledger, copied, until)


def _drain(outcome: Outcome, ledger: Ledger, copied: Instance, until: float) -> float:
    """Wait until every answered event is in the log and every shard says that it has applied all; seconds waited."""
    started = time.monotonic()
    with Portrait.open(copied.settings) as portrait:
        while _waits(portrait, ledger):
            if time.monotonic() > until:
                outcome.faults.append(f"{backlog(portrait.database)} positions were not applied in time")
                break
            time.sleep(0.2)
    return time.monotonic() - started


def _waits(portrait: Portrait, ledger: Ledger) -> bool:
    """Whether anything is still to be done: rows of the log, or what the store has lost."""
    if backlog(portrait.database) or ledger.answered - event_ids(portrait.log).keys():
        return True
    return portrait.repo.identity.problem() is not None or bool(portrait.repo.identity.lost())


def _stop(outcome: Outcome, serving: Serving) -> None:
    serving.stop()
    until = time.monotonic() + END_SECONDS
    while (left := serving.processes()) and time.monotonic() < until:
        time.sleep(0.1)
    if left:
        outcome.faults.append(f"{len(left)} processes outlived `portrait serve`: {left[0].name()}, ...")
