"""Promotions: audited changes of what a consumer reads, each one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import select

from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.database.tables import PromotionKind, PromotionRow
from portrait.registry.gates.policy import POLICY, ROLLBACK_POLICY, verdicts
from portrait.registry.promotions.change import (
    AssignmentChange,
    narrows,
    require_canary,
    require_open_canary,
    require_switch,
)
from portrait.registry.promotions.gate_facts import read_gate_facts
from portrait.registry.promotions.rollback_windows import find_rollback_target
from portrait.registry.records.records import Assignment, Consumer, Promotion
from portrait.registry.records.verdicts import Verdict
from portrait.registry.rows import assignment_row, consumer_row, version_row


class Promotions:
    """The promotions, canaries and rollbacks of consumers, and their history.

    Every change raises NotFound for an unknown name; Conflict when there is nothing to change, or when the consumer is
    not at `expected_revision` (the revision that the caller has seen, 0 for a consumer that reads nothing yet); and
    GateRefused, with every verdict, when a gate does not accept. `force` passes over the gates that may be forced, and
    needs a reason (InvalidInput).
    """

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def promote(
        self,
        consumer: str,
        version: str,
        reason: str = "",
        *,
        canary_share: float | None = None,
        force: bool = False,
        expected_revision: int | None = None,
    ) -> Promotion:
        """Let all users of a consumer read `version` from now on, or `canary_share` of them as its canary.

        Without a share an open canary ends. With one the canary begins, or its share changes; a smaller share only
        takes users off the canary, so no gate is asked. Raises InvalidInput for a share outside (0, 1).
        """
        action = Action.PROMOTE if canary_share is None else Action.CANARY
        with self._change(action, consumer, reason, expected_revision, force) as change:
            if canary_share is None:
                require_switch(consumer, change.assignment, version)
                return change.write(PromotionKind.PROMOTE, version, change.judge(version, POLICY))
            require_canary(consumer, change.assignment, version, canary_share)
            assert change.assignment is not None
            narrower = narrows(change.assignment, canary_share)
            answers = () if narrower else change.judge(version, POLICY, canary_share)
            return change.write(PromotionKind.CANARY, change.assignment.stable, answers, version, canary_share)

    def check(self, consumer: str, version: str, canary_share: float | None = None) -> tuple[Verdict, ...]:
        """The verdicts that the promotion would get now; changes nothing.

        Raises NotFound, Conflict and InvalidInput as the promotion would.
        """
        with self._database.reading() as session:
            asking = Consumer.from_row(consumer_row(session, consumer))
            row = assignment_row(session, consumer)
            assignment = Assignment.from_row(row) if row else None
            candidate = version_row(session, version)
            if canary_share is None:
                require_switch(consumer, assignment, version)
            else:
                require_canary(consumer, assignment, version, canary_share)
                if narrows(assignment, canary_share):
                    return ()
            return verdicts(read_gate_facts(session, asking, assignment, candidate, datetime.now(UTC), canary_share))

    def finish_canary(
        self, consumer: str, reason: str = "", *, force: bool = False, expected_revision: int | None = None
    ) -> Promotion:
        """Make the canary the stable version of all users; the gates are asked again."""
        with self._change(Action.CANARY_FINISH, consumer, reason, expected_revision, force) as change:
            canary = require_open_canary(consumer, change.assignment)
            return change.write(PromotionKind.FINISH, canary, change.judge(canary, POLICY))

    def abort_canary(self, consumer: str, reason: str = "", *, expected_revision: int | None = None) -> Promotion:
        """End the canary: all users are back on the stable version. No gate is asked."""
        with self._change(Action.CANARY_ABORT, consumer, reason, expected_revision) as change:
            require_open_canary(consumer, change.assignment)
            assert change.assignment is not None
            return change.write(PromotionKind.ABORT, change.assignment.stable, ())

    def rollback_target(self, consumer: str) -> str:
        """The version that a rollback would go to; raises NotFound, or Conflict when there is none."""
        with self._database.reading() as session:
            return find_rollback_target(session, consumer_row(session, consumer).name)

    def rollback(
        self, consumer: str, reason: str = "", *, force: bool = False, expected_revision: int | None = None
    ) -> Promotion:
        """Go back to the stable version before the last promotion or finished canary; an open canary ends.

        A second rollback goes further back. The gates check only that the earlier version still works.
        """
        with self._change(Action.ROLLBACK, consumer, reason, expected_revision, force) as change:
            version = find_rollback_target(change.session, consumer)
            return change.write(PromotionKind.ROLLBACK, version, change.judge(version, ROLLBACK_POLICY))

    def history(self, consumer: str, at: datetime | None = None) -> list[Promotion]:
        """The changes of a consumer's assignment, oldest first; those up to and including time `at` if given.

        At that time the consumer read the last one's `to_version` and, with an open canary, `canary`. Raises NotFound.
        """
        statement = select(PromotionRow).where(PromotionRow.consumer == consumer).order_by(PromotionRow.revision)
        if at is not None:
            statement = statement.where(PromotionRow.promoted_at <= at)
        with self._database.reading() as session:
            consumer_row(session, consumer)
            return [Promotion.from_row(row) for row in session.scalars(statement)]

    @contextmanager
    def _change(
        self, action: Action, consumer: str, reason: str, expected_revision: int | None, force: bool = False
    ) -> Iterator[AssignmentChange]:
        with self._audit.change(action, f"consumer {consumer}") as entry:
            change = AssignmentChange(entry, consumer, self._audit.actor, reason, force)
            change.require_revision(expected_revision)
            yield change
