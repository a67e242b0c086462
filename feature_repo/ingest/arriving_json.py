"""JSON records on their way into the log: each one good, or rejected with the reason, as a row of a file would be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import time_ns
from typing import Protocol

from portrait.feature_repo.ingest.event_ids import EventIds
from portrait.feature_repo.ingest.known_columns import Columns
from portrait.feature_repo.ingest.record_fields import Unfit
from portrait.feature_repo.ingest.records import event_of, item_of, user_of
from portrait.feature_repo.log.inbox import Arriving
from portrait.feature_repo.log.manifest import Kind

CLOCK_SKEW = 5.0
"""Seconds that the clock of who sends events may be ahead of ours."""


@dataclass(frozen=True)
class Rejected:
    """A bad record; of no kind where that cannot be told."""

    reason: str
    kind: Kind | None = None


class Known(Protocol):
    """Tells which columns there are now."""

    @property
    def current(self) -> Columns:
        """The columns."""
        ...

    @property
    def stale(self) -> bool:
        """Whether they should be read again."""
        ...

    def refresh(self, at_once: bool = False) -> None:
        """Read them again if they are stale, or `at_once`."""
        ...


class RecordJudge:
    """Tells good records from bad ones; never raises because of what is in them."""

    def __init__(self, known: Known) -> None:
        self.known = known

    def judge(self, kind: Kind, records: Iterable[object], skew: float = CLOCK_SKEW) -> Iterator[Arriving | Rejected]:
        """Each record (as orjson parses it) in turn, all of one request.

        Identical events without an id get different ids within a call, and the same ones again in the next call.
        Users and items may raise Unavailable when the columns have never been read.
        """
        ids, latest = EventIds(), time_ns() // 1000 + round(skew * 1_000_000)
        columns = Columns() if kind is Kind.EVENTS else self.known.current
        for record in records:
            try:
                if type(record) is not dict:
                    raise Unfit("a record is a JSON object")
                if kind is Kind.EVENTS:
                    yield event_of(record, ids, latest)
                elif kind is Kind.USERS:
                    yield user_of(record, columns.further, latest)
                else:
                    yield item_of(record, columns.vectors)
            except Unfit as unfit:
                yield Rejected(str(unfit), kind)
