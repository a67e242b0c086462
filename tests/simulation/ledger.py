"""The ledger: the records of a schedule, and what their senders were answered."""

from collections import Counter
from dataclasses import dataclass, field

import orjson

from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from tests.simulation.chance import Chance

HOUR = 3_600_000_000
START = 1_760_000_000_000_000  # microseconds
SERVICES = ("music", "video")
COUNTRIES = ("FR", "NO", "PE", None)


def event(user: str, number: int, chance: Chance) -> ArrivingRecord:
    """An event at an hour of its own or that of another one, not in the order of the numbers."""
    hour, service = int(chance.random.random() * 12), chance.one(SERVICES)
    id = f"{user}-{number}"
    payload = [user, f"{service}-{number}", START + hour * HOUR, service, "play", 1.0, id]
    return ArrivingRecord(SegmentKind.EVENTS, bucket_of(user), orjson.dumps(payload).decode(), user, id)


def profile(user: str, chance: Chance) -> ArrivingRecord:
    """A sign-up, or a change of one column."""
    columns: dict[str, object] = {"country": chance.one(COUNTRIES)}
    if chance.of(0.4):
        columns["created_time"] = START - int(chance.random.random() * 9) * HOUR
    return ArrivingRecord(SegmentKind.USERS, bucket_of(user), orjson.dumps({"user_id": user, **columns}).decode(), user)


@dataclass
class Ledger:
    """The records not yet acknowledged, and those that are."""

    waiting: list[ArrivingRecord] = field(default_factory=list)
    acknowledged: list[ArrivingRecord] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # users of whom a record was refused as forgotten

    def answer(self, records: list[ArrivingRecord], outcomes: list[InboxOutcome]) -> None:
        """Note the answers to a delivery."""
        for record, outcome in zip(records, outcomes, strict=True):
            if record in self.waiting:
                self.waiting.remove(record)
            if outcome in (InboxOutcome.ACCEPTED, InboxOutcome.KNOWN):
                self.acknowledged.append(record)
            elif outcome is InboxOutcome.FORGOTTEN:
                self.refused.add(record.user_id or "")

    def lost(self, rows: list[tuple[str | None, str]], forgotten: set[str]) -> list[str]:
        """What is wrong with the log, given its rows (event id, payload) and the users of whom nothing may be left."""
        events = Counter(id for id, _ in rows if id is not None)
        payloads = Counter(payload for _, payload in rows)
        wrong = [f"event {id} is in the log {times} times" for id, times in events.items() if times > 1]
        for record in self.acknowledged:
            if record.user_id not in forgotten and not payloads[record.payload]:
                wrong.append(f"{record.payload} was accepted and is not in the log")
        return wrong
