"""The ledger of events: those sent to the gateway, and those that it has acknowledged."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from portrait.feature_repo.schemas import from_microseconds


@dataclass(frozen=True)
class Event:
    """An event with an id of its own; `event_time` in microseconds since 1970."""

    event_id: str
    user_id: str
    item_id: str
    service: str
    action: str
    weight: float
    event_time: int

    def to_json(self) -> dict[str, Any]:
        """As `POST /v1/events` takes it."""
        return asdict(self) | {"event_time": from_microseconds(self.event_time).isoformat()}


class Ledger:
    """Counts of one round; several senders write to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent: dict[str, Event] = {}
        self.answered: set[str] = set()  # ids of events in a request that was answered 202
        self.accepted = self.known = self.failures = 0
        self.complaints: list[str] = []  # answers that no gateway may give

    def sending(self, events: Sequence[Event]) -> None:
        """Note events before they leave."""
        with self._lock:
            self.sent.update({event.event_id: event for event in events})

    def answer(self, events: Sequence[Event], receipt: dict[str, Any]) -> None:
        """Note a 202: everything is either new or known."""
        with self._lock:
            self.answered.update(event.event_id for event in events)
            self.accepted += receipt["accepted"]
            self.known += receipt["known"]
            if receipt["rejected"] or receipt["accepted"] + receipt["known"] != len(events):
                self.complaints.append(f"{len(events)} good events were answered with {receipt}")

    def no_answer(self) -> None:
        """Note a request that has to be sent again."""
        with self._lock:
            self.failures += 1

    def complain(self, what: str) -> None:
        """Note an answer that sending again will not better."""
        with self._lock:
            self.complaints.append(what)
