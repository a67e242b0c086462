"""The audit: every change, in the transaction that makes it, and every attempt that was refused."""

import builtins
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.database.database import Database
from portrait.registry.database.tables import AuditEventRow, Instance
from portrait.registry.errors import PortraitError, Unavailable
from portrait.registry.text import one_line

log = logging.getLogger(__name__)

SUBJECT_LENGTH = 160
LARGEST_ID = 2**31 - 1


class Action(StrEnum):
    """Actions that the audit keeps."""

    VERSION_REGISTER = "version.register"
    VERSION_FAIL = "version.fail"
    VERSION_RETIRE = "version.retire"
    VERSION_RETIRED = "version.retired"
    BACKFILL_BEGIN = "backfill.begin"
    BACKFILL_FINISH = "backfill.finish"
    EVALUATION_RECORD = "evaluation.record"
    CONSUMER_ADD = "consumer.add"
    CONSUMER_SET = "consumer.set"
    HEAD_REGISTER = "head.register"
    PROMOTE = "promotion.promote"
    ROLLBACK = "promotion.rollback"
    CANARY = "promotion.canary"
    CANARY_FINISH = "promotion.finish"
    CANARY_ABORT = "promotion.abort"
    KEY_ADD = "key.add"
    KEY_REVOKE = "key.revoke"
    COLUMN_DROP = "column.drop"
    USER_FORGET = "user.forget"
    USER_LIFT = "user.lift"
    USER_MERGE = "user.merge"
    EVENT_DELETE = "event.delete"
    EVENT_CORRECT = "event.correct"
    EVENT_LIFT = "event.lift"
    ACCESS = "access"  # a request without a key, or with a key whose scopes do not allow it


class AuditOutcome(StrEnum):
    """Outcomes of an action."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class AuditEvent:
    """One event of the audit."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str  # "consumer ads", "version autoencoder-3", "key 1f2e3d"
    outcome: AuditOutcome
    detail: dict[str, Any]

    @classmethod
    def from_row(cls, row: AuditEventRow) -> "AuditEvent":
        outcome = AuditOutcome(row.outcome)
        return cls(row.id, row.at, row.actor, row.action, row.subject, outcome, row.detail)


@dataclass
class AuditedChange:
    """A change under way: its transaction, and what the audit keeps of it; `changed` is false when nothing changed."""

    session: Session
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)
    changed: bool = True


class Audit:
    """The audit events of a registry, written as one actor."""

    def __init__(self, database: Database, actor: str) -> None:
        """Raises InvalidInput for an actor that is not one line of 1 to 128 characters."""
        self._database = database
        self.actor = one_line("actor", actor, 128)

    @contextmanager
    def change(self, action: Action, subject: str) -> Iterator[AuditedChange]:
        """A transaction whose audit event commits with it.

        When the block raises one of our errors, the attempt is kept as refused, in a transaction of its own, because
        this one is rolled back; an outage (Unavailable) is not a refusal.
        """
        entry = None
        try:
            with self._database.transaction() as session:
                entry = AuditedChange(session, subject)
                yield entry
                if entry.changed:
                    self._write(session, action, entry.subject, AuditOutcome.DONE, entry.detail)
        except Unavailable:
            raise
        except PortraitError as refusal:
            self.refused(action, entry.subject if entry else subject, refusal)
            raise

    @contextmanager
    def preparing(self, action: Action, subject: str) -> Iterator[None]:
        """The block before a change: when it raises one of our errors, the change is kept as refused."""
        try:
            yield
        except Unavailable:
            raise
        except PortraitError as refusal:
            self.refused(action, subject, refusal)
            raise

    def refused(self, action: Action, subject: str, refusal: PortraitError) -> None:
        """Keep an attempt that was refused; if the database is away, the attempt is only logged."""
        try:
            with self._database.transaction() as session:
                self._write(session, action, subject, AuditOutcome.REFUSED, {"reason": str(refusal)})
        except PortraitError as error:
            shown = _printable(subject)
            log.error("refused %s of %s by %s could not be audited: %s", action, shown, self.actor, error)

    def list(self, since: datetime | None = None, after: int = 0, limit: int | None = None) -> list[AuditEvent]:
        """At most `limit` events, oldest first: from time `since` on, with ids greater than `after`."""
        beyond = AuditEventRow.id > min(after, LARGEST_ID)
        statement = select(AuditEventRow).where(beyond).order_by(AuditEventRow.id).limit(limit)
        if since is not None:
            statement = statement.where(AuditEventRow.at >= since)
        with self._database.reading() as session:
            return [AuditEvent.from_row(row) for row in session.scalars(statement)]

    def newest(self, count: int) -> "builtins.list[AuditEvent]":
        """The newest `count` events, oldest first."""
        statement = select(AuditEventRow).order_by(AuditEventRow.id.desc()).limit(count)
        with self._database.reading() as session:
            return [AuditEvent.from_row(row) for row in session.scalars(statement)][::-1]

    def _write(
        self, session: Session, action: Action, subject: str, outcome: AuditOutcome, detail: dict[str, Any]
    ) -> None:
        session.flush()
        # Every writer locks the instance row until the commit. So ids grow in the order of the commits, and a reader
        # who asks for the events after the last one seen misses none.
        session.execute(select(Instance.id).with_for_update(key_share=True))
        row = AuditEventRow(at=datetime.now(UTC), actor=self.actor, action=action.value, outcome=outcome.value)
        row.subject, row.detail = _printable(subject)[:SUBJECT_LENGTH], _storable(detail)
        session.add(row)
        session.flush()


def _storable(value: Any) -> Any:
    """The value as both databases can store it and a terminal can show it, whatever a client has sent."""
    if isinstance(value, str):
        return _printable(value, "\n\t")
    if isinstance(value, Mapping):
        return {_printable(str(name)): _storable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _printable(text: str, allowed: str = "") -> str:
    return "".join(c if c.isprintable() or c in allowed else repr(c)[1:-1] for c in text)
