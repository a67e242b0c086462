"""The audit: every change, in the transaction that makes it, and every attempt that was refused."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.database import Database
from registry.errors import PortraitError, Unavailable
from registry.tables import AuditEventRow

log = logging.getLogger(__name__)


class Action(StrEnum):
    """What was done or tried."""

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
    ACCESS = "access"  # a request without a key, or with one that does not reach so far


class AuditOutcome(StrEnum):
    """How it ended."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class AuditEvent:
    """One line of the audit."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str  # "consumer ads", "version autoencoder-3", "key 1f2e3d"
    outcome: AuditOutcome
    detail: dict[str, Any]

    @classmethod
    def of(cls, row: AuditEventRow) -> "AuditEvent":
        """The record of a row."""
        outcome = AuditOutcome(row.outcome)
        return cls(row.id, row.at, row.actor, row.action, row.subject, outcome, row.detail)


@dataclass
class Entry:
    """What a change says about itself while it runs; `changed` stays false when it had nothing to do."""

    session: Session
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)
    changed: bool = True


class Audit:
    """The audit events of a registry, written as one actor."""

    def __init__(self, database: Database, actor: str) -> None:
        self._database = database
        self.actor = actor

    @contextmanager
    def change(self, action: Action, subject: str) -> Iterator[Entry]:
        """A transaction whose audit event commits with it.

        When it raises one of our errors, the attempt is kept as refused; an outage is no refusal.
        """
        try:
            with self._database.transaction() as session:
                entry = Entry(session, subject)
                yield entry
                if entry.changed:
                    session.add(self._row(action, entry.subject, AuditOutcome.DONE, entry.detail))
        except Unavailable:
            raise
        except PortraitError as refusal:
            self.refused(action, subject, refusal)
            raise

    def refused(self, action: Action, subject: str, refusal: PortraitError) -> None:
        """Keep an attempt that was refused; without a database it is only logged."""
        try:
            with self._database.transaction() as session:
                session.add(self._row(action, subject, AuditOutcome.REFUSED, {"reason": str(refusal)}))
        except PortraitError as error:
            log.error("refused %s of %s by %s could not be audited: %s", action, subject, self.actor, error)

    def list(self, since: datetime | None = None, after: int = 0, limit: int | None = None) -> list[AuditEvent]:
        """Events oldest first: from a time on, beyond an id, at most so many."""
        statement = select(AuditEventRow).where(AuditEventRow.id > after).order_by(AuditEventRow.id).limit(limit)
        if since is not None:
            statement = statement.where(AuditEventRow.at >= since)
        with self._database.reading() as session:
            return [AuditEvent.of(row) for row in session.scalars(statement)]

    def _row(self, action: Action, subject: str, outcome: AuditOutcome, detail: dict[str, Any]) -> AuditEventRow:
        shown = subject if subject.isprintable() else repr(subject)
        return AuditEventRow(
            at=datetime.now(UTC),
            actor=self.actor,
            action=action.value,
            subject=shown[:160],
            outcome=outcome.value,
            detail={name: _printable(value) for name, value in detail.items()},
        )


def _printable(value: Any) -> Any:
    return value.replace("\x00", "\\0") if isinstance(value, str) else value  # Postgres stores no NUL
