"""Promotions: audited changes of what a consumer reads, each one transaction."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.audit import Audit
from registry.database import Database
from registry.errors import Conflict
from registry.gates import Facts, verdicts
from registry.records import Assignment, Backfill, Consumer, Promotion
from registry.rows import assignment_row, bump, consumer_row, newest_finished, version_record, version_row
from registry.tables import AssignmentRow, ConsumerRow, PromotionKind, PromotionRow
from registry.text import free_text, one_line
from registry.verdicts import Verdict


class Promotions:
    """The promotions, rollbacks and their history."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def promote(
        self, consumer: str, version: str, actor: str, reason: str, expected_revision: int | None = None
    ) -> Promotion:
        """Let a consumer read `version` from now on.

        `expected_revision` is the revision that the caller looked at, 0 for a consumer that reads nothing yet.
        Raises NotFound, or Conflict when a gate does not accept, when the consumer reads this version
        already, or when its revision is not the expected one.
        """
        with self._database.transaction() as session:
            change = _Change(session, consumer, actor, reason)
            change.require_revision(expected_revision)
            return change.switch(PromotionKind.PROMOTE, version)

    def rollback(self, consumer: str, actor: str, reason: str) -> Promotion:
        """Back to what the consumer read before the promotion in force; a second one goes further back.

        Raises NotFound, or Conflict when there is nothing to go back to or the earlier version is not usable.
        """
        with self._database.transaction() as session:
            change = _Change(session, consumer, actor, reason)
            return change.switch(PromotionKind.ROLLBACK, _before_the_one_in_force(session, consumer))

    def history(self, consumer: str, at: datetime | None = None) -> list[Promotion]:
        """The changes of a consumer's assignment, oldest first; up to and with time `at` if given.

        The last one's `to_version` was what the consumer read at that time. Raises NotFound.
        """
        statement = select(PromotionRow).where(PromotionRow.consumer == consumer).order_by(PromotionRow.revision)
        if at is not None:
            statement = statement.where(PromotionRow.promoted_at <= at)
        with self._database.reading() as session:
            consumer_row(session, consumer)
            return [Promotion.of(row) for row in session.scalars(statement)]


class _Change:
    """One change of one consumer's assignment, under the lock of the consumer's row."""

    def __init__(self, session: Session, consumer: str, actor: str, reason: str) -> None:
        self._session = session
        self._actor, self._reason = one_line("actor", actor, 128), free_text("reason", reason)
        # The consumer's row, because there may be no assignment yet.
        self._consumer: ConsumerRow = consumer_row(session, consumer, lock=True)
        self._assignment: AssignmentRow | None = assignment_row(session, consumer, lock=True)

    @property
    def _revision(self) -> int:
        return self._assignment.revision if self._assignment else 0

    def require_revision(self, expected: int | None) -> None:
        """Raise Conflict, which names who was faster, unless the consumer is at the expected revision."""
        if expected is None or expected == self._revision:
            return
        last = _last(self._session, self._consumer.name)
        winner = f"{last.actor} made it read {last.to_version} at {last.promoted_at.isoformat()}" if last else "nobody"
        raise Conflict(
            f"consumer {self._consumer.name} is at revision {self._revision}, not {expected} ({winner}): "
            "look at it again before you promote"
        )

    def switch(self, kind: PromotionKind, version: str) -> Promotion:
        """Ask the gates, write assignment and history, tell serving."""
        answers = self._ask_gates(version)
        before = self._assignment.stable if self._assignment else None
        now = self._now()
        self._assign(version, now)
        row = self._record(kind, before, version, answers, now)
        self._session.flush()
        bump(self._session)
        return Promotion.of(row)

    def _ask_gates(self, version: str) -> tuple[Verdict, ...]:
        candidate = version_row(self._session, version, lock=True)
        if self._assignment and self._assignment.stable == version:
            raise Conflict(f"consumer {self._consumer.name} already reads {version}: nothing to promote")
        backfill = newest_finished(self._session, version)
        facts = Facts(
            consumer=Consumer.of(self._consumer),
            assignment=Assignment.of(self._assignment) if self._assignment else None,
            version=version_record(self._session, candidate),
            backfill=Backfill.of(backfill) if backfill else None,
        )
        answers = verdicts(facts)
        objection = next((answer for answer in answers if not answer.accepted), None)
        if objection:
            raise Conflict(f"consumer {self._consumer.name} stays as it is, {objection}")
        return answers

    def _now(self) -> datetime:
        # Never before the change before, whatever the clocks of two machines say: `history(at=)` goes by time.
        now = datetime.now(UTC)
        return max(now, self._assignment.changed_at) if self._assignment else now

    def _assign(self, version: str, now: datetime) -> None:
        if self._assignment is None:
            self._assignment = AssignmentRow(consumer=self._consumer.name, stable=version, revision=1, changed_at=now)
            self._session.add(self._assignment)
            return
        self._assignment.stable = version
        self._assignment.revision += 1
        self._assignment.changed_at = now

    def _record(
        self, kind: PromotionKind, before: str | None, after: str, answers: tuple[Verdict, ...], now: datetime
    ) -> PromotionRow:
        gates: list[dict[str, Any]] = [dict(answer.to_json()) for answer in answers]
        row = PromotionRow(
            consumer=self._consumer.name,
            revision=self._revision,
            kind=kind,
            from_version=before,
            to_version=after,
            actor=self._actor,
            reason=self._reason,
            forced=False,
            gates=gates,
            promoted_at=now,
        )
        self._session.add(row)
        return row


def _newest_first(session: Session, consumer: str) -> list[PromotionRow]:
    statement = select(PromotionRow).where(PromotionRow.consumer == consumer)
    return list(session.scalars(statement.order_by(PromotionRow.revision.desc())))


def _last(session: Session, consumer: str) -> PromotionRow | None:
    return next(iter(_newest_first(session, consumer)), None)


def _before_the_one_in_force(session: Session, consumer: str) -> str:
    """Each rollback undoes one promotion, so walking back it skips one."""
    undone = 0
    for row in _newest_first(session, consumer):
        if row.kind == PromotionKind.ROLLBACK:
            undone += 1
        elif undone:
            undone -= 1
        elif row.from_version is not None:
            return row.from_version
    raise Conflict(f"consumer {consumer} has nothing to go back to: promote another version instead")
