"""Evidence about a version: facts that the upper floors measure before a promotion, for the gates to judge."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from portrait.registry.database.tables import EvidenceRow


@dataclass(frozen=True)
class ArtifactFacts:
    """Whether the artifact of a version loads and still encodes its probe as it did when trained."""

    loads: bool
    fingerprint: str | None  # of the bytes that were found; None when there are none that can be read
    problem: str = ""  # why it does not load


@dataclass(frozen=True)
class VectorFacts:
    """What the stored vectors of a version look like, from a random sample of the known users."""

    users_known: int  # in log and users table
    users_sampled: int  # all of them where they are few
    users_embedded: int  # of the sampled, with a stored vector
    not_finite: int  # vectors with a number that is not finite
    norm_median: float
    norm_largest: float
    collapsed_dimensions: int  # that are the same for everybody
    dimension: int
    priors: int  # vectors that equal the prior
    watermark_lag: float  # seconds of event time by which the version's as-of trails the log
    refresh_lag: float  # seconds of event time by which the worst vector trails its user's own history
    users_behind: int  # of the embedded, whose history knows events that the vector does not


Facts: TypeAlias = ArtifactFacts | VectorFacts
Kind: TypeAlias = Literal["artifact", "vectors"]
KINDS: dict[type, Kind] = {ArtifactFacts: "artifact", VectorFacts: "vectors"}


@dataclass(frozen=True)
class Evidence:
    """Facts, and who measured them when."""

    version: str
    facts: Facts
    measured_at: datetime
    measured_by: str

    @classmethod
    def of(cls, row: EvidenceRow) -> "Evidence":
        """The record of a row."""
        return cls(row.version, _facts(row.kind, row.facts), row.measured_at, row.measured_by)


def _facts(kind: str, stored: Mapping[str, Any]) -> Facts:
    types = {name: type_ for type_, name in KINDS.items()}
    return types[kind](**stored)  # type: ignore[index, no-any-return]


def to_json(facts: Facts) -> dict[str, Any]:
    """As stored in `evidence.facts`."""
    return asdict(facts)
