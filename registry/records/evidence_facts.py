"""Evidence about a version: facts that the upper floors measure before a promotion, for the gates to judge."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from portrait.registry.database.tables import EvidenceRow


@dataclass(frozen=True)
class ArtifactFacts:
    """Whether the artifact of a version loads, and encodes its probe as it did after training."""

    loads: bool
    fingerprint: str | None  # of the bytes that were found; None when none can be read
    problem: str = ""  # why it does not load


@dataclass(frozen=True)
class VectorFacts:
    """Statistics of the stored vectors of a version, over a random sample of the known users."""

    users_known: int  # in log and users table
    users_sampled: int  # all known users where they are few
    users_embedded: int  # of the sampled users, those with a stored vector
    not_finite: int  # vectors with a number that is not finite
    norm_median: float
    norm_largest: float
    collapsed_dimensions: int  # dimensions with the same value for everybody
    dimension: int
    priors: int  # vectors that equal the prior
    watermark_lag: float  # seconds of event time by which the version's as-of trails the log
    refresh_lag: float  # seconds of event time by which the worst vector trails its user's own history
    users_behind: int  # embedded users whose history has events that the vector does not know


EvidenceFacts: TypeAlias = ArtifactFacts | VectorFacts
EvidenceKind: TypeAlias = Literal["artifact", "vectors"]
KINDS: dict[type, EvidenceKind] = {ArtifactFacts: "artifact", VectorFacts: "vectors"}


@dataclass(frozen=True)
class Evidence:
    """Facts about a version, who measured them, and when."""

    version: str
    facts: EvidenceFacts
    measured_at: datetime
    measured_by: str

    @classmethod
    def from_row(cls, row: EvidenceRow) -> "Evidence":
        return cls(row.version, _facts(row.kind, row.facts), row.measured_at, row.measured_by)


def _facts(kind: str, stored: Mapping[str, Any]) -> EvidenceFacts:
    types = {name: type_ for type_, name in KINDS.items()}
    return types[kind](**stored)  # type: ignore[index, no-any-return]


def to_json(facts: EvidenceFacts) -> dict[str, Any]:
    """The facts as the column `evidence.facts` stores them."""
    return asdict(facts)
