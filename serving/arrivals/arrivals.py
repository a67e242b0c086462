"""Arrivals over HTTP: records are judged here, then made durable in groups."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from portrait.feature_repo.ingest.event_files import TAKEN
from portrait.feature_repo.ingest.records import RecordJudge, RejectedRecord
from portrait.feature_repo.log.inbox import InboxOutcome
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.serving.arrivals.inbox_writer import ArrivedRecord, InboxWriter

SLICE = 100
"""Records that are judged in one go, about a millisecond, before other requests get a turn."""

INVALID = "invalid"
"""Outcome, for metrics, of records that are rejected before the log is asked."""

CLAMPED = "clamped"
"""Outcome, for metrics, of those accepted events that have the time of their receipt; they count as accepted too."""

REASONS = {
    InboxOutcome.TAKEN: TAKEN,
    InboxOutcome.FORGOTTEN: "the user was forgotten: `portrait forget --lift` has records accepted again",
    InboxOutcome.DELETED: "the event was deleted: `portrait event delete --lift` has it accepted again",
}


@dataclass(frozen=True)
class ArrivalRejection:
    """A record of a request that was not accepted."""

    index: int
    reason: str


@dataclass(frozen=True)
class ArrivalReceipt:
    """The outcome of a request's records."""

    accepted: int
    known: int
    clamped: int  # of the accepted ones
    rejected: Sequence[ArrivalRejection]
    outcomes: Mapping[str, int]  # how many of each Outcome, of INVALID and of CLAMPED


class Closable(Protocol):
    """A connection pool of a database or a broker."""

    def close(self) -> None: ...


class Arrivals:
    """Takes events, users and items in, over connections of its own."""

    def __init__(self, judge: RecordJudge, writer: InboxWriter, *connections: Closable) -> None:
        self._judge = judge
        self._writer = writer
        self._connections = connections

    async def take(self, kind: SegmentKind, records: Sequence[object]) -> ArrivalReceipt:
        """Take in the valid ones of these JSON values; returns when they are durable.

        Raises Unavailable, also when too many records wait; then the same records may be sent again.
        """
        known = self._judge.known
        if kind is not SegmentKind.EVENTS and known.stale:
            await asyncio.to_thread(known.refresh)
        good: list[tuple[int, ArrivedRecord]] = []
        rejected: list[ArrivalRejection] = []
        for index, one in enumerate(self._judge.judge(kind, records)):
            if isinstance(one, RejectedRecord):
                rejected.append(ArrivalRejection(index, one.reason))
            else:
                good.append((index, ArrivedRecord(one, records[index])))  # type: ignore[arg-type]  # good ones are objects
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
        outcomes = await self._writer.write([arrived for _, arrived in good]) if good else []
        counts: Counter[str] = Counter({INVALID: len(rejected)} if rejected else {})
        counts.update(outcomes)
        for (index, arrived), outcome in zip(good, outcomes, strict=True):
            if arrived.arriving.clamped and outcome is InboxOutcome.ACCEPTED:
                counts[CLAMPED] += 1
            if outcome in REASONS:
                rejected.append(ArrivalRejection(index, REASONS[outcome]))
        rejected.sort(key=lambda one: one.index)
        accepted, known_before = counts[InboxOutcome.ACCEPTED], counts[InboxOutcome.KNOWN]
        return ArrivalReceipt(accepted, known_before, counts[CLAMPED], rejected, counts)

    def start(self) -> None:
        """Start the writer; records are accepted from now on."""
        self._writer.start()

    def close(self) -> None:
        """Commit the records that wait, refuse later ones, and close the connections."""
        self._writer.close()
        for connection in self._connections:
            connection.close()
