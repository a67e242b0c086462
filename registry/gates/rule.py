"""The protocol of a gate, the facts that all gates look at, and their three answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from portrait.registry.gates.wording import distinct_texts, span
from portrait.registry.records.evidence_facts import ArtifactFacts, Evidence, EvidenceKind, VectorFacts
from portrait.registry.records.records import Assignment, Backfill, Consumer, EmbeddingVersion, Head
from portrait.registry.records.verdicts import GateOutcome, Verdict


@dataclass(frozen=True)
class Measurement:
    """A metric of a version; two of them compare only on the same data and as-of."""

    task: str
    metric: str
    data_stamp: str
    as_of: datetime
    value: float
    measured_at: datetime


@dataclass(frozen=True)
class GateFacts:
    """Everything that the gates may look at: the consumer, the version that it asks for, and the evidence."""

    consumer: Consumer
    assignment: Assignment | None  # None: the consumer reads nothing yet
    version: EmbeddingVersion
    backfill: Backfill | None  # the newest finished one
    now: datetime
    evidence: Mapping[EvidenceKind, Evidence] = field(default_factory=dict)  # the newest of each kind
    heads: Sequence[Head] = ()  # of the consumer, on the version
    measured: Sequence[Measurement] = ()  # on the version
    measured_now: Sequence[Measurement] = ()  # on the stable version that the consumer reads now
    canary_share: float | None = None  # None: all users

    @property
    def artifact(self) -> ArtifactFacts | None:
        """The newest facts about the artifact; None without evidence."""
        evidence = self.evidence.get("artifact")
        return evidence.facts if evidence and isinstance(evidence.facts, ArtifactFacts) else None

    @property
    def vectors(self) -> VectorFacts | None:
        """The newest facts about the vectors; None without evidence."""
        evidence = self.evidence.get("vectors")
        return evidence.facts if evidence and isinstance(evidence.facts, VectorFacts) else None

    @property
    def look_again(self) -> str:
        """The remedy for outdated evidence: a command that takes new evidence and changes nothing else."""
        canary = "" if self.canary_share is None else f" --canary {self.canary_share:g}"
        return f"run `portrait promote {self.consumer.name} {self.version.id}{canary} --dry-run`, which looks anew"

    def outdated(self, kind: EvidenceKind) -> str:
        """The reason why the evidence of a kind is missing or too old; empty when it counts."""
        evidence = self.evidence.get(kind)
        if evidence is None:
            return f"nobody has looked at the {kind} of {self.version.id} yet"
        finished = self.backfill.finished_at if self.backfill else None
        if finished is not None and evidence.measured_at < finished:
            return f"nobody has looked at the {kind} of {self.version.id} since its newest backfill finished"
        age, limit = (self.now - evidence.measured_at).total_seconds(), self.consumer.gates.evidence_seconds
        if age > limit:
            shown, allowed = distinct_texts(span, age, limit)
            return f"the look at the {kind} of {self.version.id} is {shown} old, the limit is {allowed}"
        return ""


class Gate(Protocol):
    """A rule that a promotion must pass."""

    @property
    def name(self) -> str:
        """The name of the gate, short and stable: it is kept with each promotion."""
        ...

    def check(self, facts: GateFacts) -> Verdict:
        """The verdict: accept, wait or reject, with a reason and a remedy."""
        ...


def accept(gate: Gate, reason: str) -> Verdict:
    """The verdict that lets a promotion pass."""
    return Verdict(gate.name, GateOutcome.ACCEPT, reason)


def wait(gate: Gate, reason: str, remedy: str, *, forceable: bool = True) -> Verdict:
    """The verdict that lets a promotion pass once the remedy was applied."""
    return Verdict(gate.name, GateOutcome.WAIT, reason, remedy, forceable)


def reject(gate: Gate, reason: str, remedy: str, *, forceable: bool = True) -> Verdict:
    """The verdict that does not let this version pass."""
    return Verdict(gate.name, GateOutcome.REJECT, reason, remedy, forceable)


def current_vectors(gate: Gate, facts: GateFacts) -> VectorFacts | Verdict:
    """The facts about the vectors, or the verdict to wait for newer ones."""
    outdated = facts.outdated("vectors")
    if outdated or facts.vectors is None:
        return wait(gate, outdated, facts.look_again)
    return facts.vectors
