"""Verdicts of the promotion gates."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


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
    forceable: bool = True  # whether `force` may pass over it

    @property
    def accepted(self) -> bool:
        """Whether the gate lets the promotion pass."""
        return self.outcome is Outcome.ACCEPT

    def to_json(self) -> dict[str, str | bool]:
        """As stored in `promotions.gates`."""
        return {**asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Verdict":
        """The reverse of `to_json`."""
        return cls(**{**stored, "outcome": Outcome(stored["outcome"])})

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}" if self.remedy else self.reason
