"""What a gate says."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Accept; wait for something that is under way or can be done; or reject for good."""

    ACCEPT = "accept"
    WAIT = "wait"
    REJECT = "reject"


@dataclass(frozen=True)
class Verdict:
    """The answer of one gate, as it is kept with the promotion."""

    gate: str
    outcome: Outcome
    reason: str
    remedy: str = ""  # what to do about it; empty when accepted

    @property
    def accepted(self) -> bool:
        """Whether the gate lets the promotion pass."""
        return self.outcome is Outcome.ACCEPT

    def to_json(self) -> dict[str, str]:
        """As stored in `promotions.gates`."""
        return {"gate": self.gate, "outcome": self.outcome, "reason": self.reason, "remedy": self.remedy}

    @classmethod
    def from_json(cls, stored: dict[str, str]) -> "Verdict":
        """The reverse of `to_json`."""
        return cls(stored["gate"], Outcome(stored["outcome"]), stored["reason"], stored["remedy"])

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}" if self.remedy else self.reason
