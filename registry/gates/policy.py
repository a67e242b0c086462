"""Gates: an ordered policy of small rules that a promotion must pass.

A rule looks only at the facts that the promotion's transaction has locked and read, and answers
with a verdict. A new rule is a class with a name and a `check` in registry/gates, put into POLICY.
"""

from collections.abc import Sequence

from portrait.registry.errors import GateRefused
from portrait.registry.gates.artifact import ArtifactLoads, FingerprintIntact, VersionIsLive, VersionIsReady
from portrait.registry.gates.coverage import CoverageIsComplete, VectorsStillCover
from portrait.registry.gates.health import VectorsAreHealthy
from portrait.registry.gates.lag import LagIsTold, RefreshLag, WatermarkLag
from portrait.registry.gates.metric import HeadIsReady, MetricNotWorse
from portrait.registry.gates.rule import Gate, GateFacts
from portrait.registry.records.verdicts import Verdict

POLICY: tuple[Gate, ...] = (
    VersionIsReady(),
    ArtifactLoads(),
    FingerprintIntact(),
    CoverageIsComplete(),
    WatermarkLag(),
    RefreshLag(),
    HeadIsReady(),
    MetricNotWorse(),
    VectorsAreHealthy(),
)
"""The gates in the order in which they are asked; the first that does not accept is the one to name."""

ROLLBACK_POLICY: tuple[Gate, ...] = (
    VersionIsLive(),
    ArtifactLoads(),
    FingerprintIntact(),
    VectorsStillCover(),
    LagIsTold(),
)
"""The gates of a rollback check that the earlier version still works; it was good enough once."""


def verdicts(facts: GateFacts, policy: Sequence[Gate] = POLICY) -> tuple[Verdict, ...]:
    """The verdict of every gate, in the policy's order."""
    return tuple(gate.check(facts) for gate in policy)


def require_passed(consumer: str, answers: tuple[Verdict, ...], *, force: bool) -> bool:
    """Whether force was needed to pass; raises GateRefused, with every verdict, when a promotion does not pass.

    Force passes over every verdict that is forceable; a broken artifact, a mixed fingerprint and a version that
    failed or is being retired are not.
    """
    objections = [answer for answer in answers if not answer.accepted]
    stopping = [answer for answer in objections if not (force and answer.forceable)]
    if stopping:
        first, *others = stopping
        also = f" (not accepted either: {', '.join(other.gate for other in others)})" if others else ""
        never = ", and no force passes over that" if force else ""
        raise GateRefused(f"consumer {consumer} stays as it is, {first}{never}{also}", answers)
    return bool(objections)
