"""Verdicts of the promotion gates."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class GateOutcome(StrEnum):
    """Answers of a gate: accept; wait, as something can still be done about it; or reject for good."""

    ACCEPT = "accept"
    WAIT = "wait"
    REJECT = "reject"


@dataclass(frozen=True)
class Verdict:
    """The answer of one gate, kept with the promotion."""

    gate: str
    outcome: GateOutcome
    reason: str
    remedy: str = ""  # what to do about it; empty when accepted
    forceable: bool = True  # whether `force` may pass over it

    @property
    def accepted(self) -> bool:
        """Whether the gate lets the promotion pass."""
        return self.outcome is GateOutcome.ACCEPT

    def to_json(self) -> dict[str, str | bool]:
        """The verdict as the column `promotions.gates` stores it."""
        return {**asdict(self), "outcome": self.outcome.value}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Verdict":
        """The verdict whose `to_json` is `stored`."""
        return cls(**{**stored, "outcome": GateOutcome(stored["outcome"])})

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}" if self.remedy else self.reason
