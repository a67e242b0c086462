"""Gates: an ordered policy of small rules that a promotion must pass.

A rule looks only at the facts that the promotion's transaction has locked and read, and answers
with a verdict. A new rule is a class with a name and a `check`, put into POLICY.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.records import Assignment, Backfill, Consumer, EmbeddingVersion
from registry.tables import VersionState
from registry.verdicts import Outcome, Verdict


@dataclass(frozen=True)
class Facts:
    """What the gates may look at: who asks for which version, and the evidence about it."""

    consumer: Consumer
    assignment: Assignment | None  # None: the consumer reads nothing yet
    version: EmbeddingVersion
    backfill: Backfill | None  # the newest finished one


class Gate(Protocol):
    """A rule that a promotion must pass."""

    @property
    def name(self) -> str:
        """Short and stable; kept with each promotion."""
        ...

    def check(self, facts: Facts) -> Verdict:
        """Accept, wait or reject, with a reason and what to do."""
        ...


class VersionIsReady:
    """The version is ready: it was backfilled, did not fail and is not being retired."""

    name = "version-is-ready"

    def check(self, facts: Facts) -> Verdict:
        """Wait while a backfill can make it ready; reject what will not become ready again."""
        version = facts.version
        match version.state:
            case VersionState.READY:
                return Verdict(self.name, Outcome.ACCEPT, f"version {version.id} is ready")
            case VersionState.REGISTERED | VersionState.BACKFILLING:
                reason = f"version {version.id} is {version.state}, not ready"
                return Verdict(self.name, Outcome.WAIT, reason, f"run `portrait backfill {version.id}`")
            case VersionState.FAILED:
                reason = f"version {version.id} failed ({version.failure})"
                return Verdict(self.name, Outcome.REJECT, reason, "promote another version")
            case _:
                reason = f"version {version.id} is {version.state}"
                return Verdict(self.name, Outcome.REJECT, reason, "promote another version")


class CoverageIsComplete:
    """The version's newest finished backfill embedded every user that its snapshot had."""

    name = "coverage-is-complete"

    def check(self, facts: Facts) -> Verdict:
        """Wait for a backfill that covers all users expected."""
        version, backfill = facts.version, facts.backfill
        remedy = f"run `portrait backfill {version.id}`"
        if backfill is None:
            return Verdict(self.name, Outcome.WAIT, f"version {version.id} has no finished backfill", remedy)
        done, expected = backfill.users_done, backfill.users_expected
        if done < expected:
            reason = f"version {version.id} covers {done:,} of {expected:,} users ({done / expected:.1%})"
            return Verdict(self.name, Outcome.WAIT, reason, remedy)
        return Verdict(self.name, Outcome.ACCEPT, f"version {version.id} covers all {expected:,} users")


POLICY: tuple[Gate, ...] = (VersionIsReady(), CoverageIsComplete())
"""The gates in the order in which they are asked; the first that does not accept is the one to name."""


def verdicts(facts: Facts, policy: Sequence[Gate] = POLICY) -> tuple[Verdict, ...]:
    """The verdict of every gate, in the policy's order."""
    return tuple(gate.check(facts) for gate in policy)
