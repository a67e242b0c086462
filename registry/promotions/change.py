"""One change of a consumer's assignment under the lock of the consumer's row, and the preconditions of changes."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.access.audit import AuditedChange
from portrait.registry.database.tables import AssignmentRow, PromotionKind, PromotionRow
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.gates.policy import require_passed, verdicts
from portrait.registry.gates.rule import Gate
from portrait.registry.promotions.gate_facts import read_gate_facts
from portrait.registry.promotions.rollback_windows import keep_windows
from portrait.registry.records.records import Assignment, Consumer, Promotion
from portrait.registry.records.verdicts import Verdict
from portrait.registry.rows import assignment_row, bump, consumer_row, version_row
from portrait.registry.text import free_text


class AssignmentChange:
    """A change of a consumer's assignment: judge a version, then write assignment, history, windows and generation."""

    def __init__(self, entry: AuditedChange, consumer: str, actor: str, reason: str, force: bool = False) -> None:
        self._entry = entry
        self.session = entry.session
        self._actor, self._reason = actor, free_text("reason", reason)
        if force and not self._reason:
            raise InvalidInput("force without a reason: say with --reason why the gates are passed over")
        self._force = force
        # The lock is on the consumer's row, because there may be no assignment yet.
        self.consumer = Consumer.from_row(consumer_row(self.session, consumer, lock=True))
        self._row = assignment_row(self.session, consumer, lock=True)
        self.assignment = Assignment.from_row(self._row) if self._row else None

    def require_revision(self, expected: int | None) -> None:
        """Raise Conflict, naming the last change, unless the consumer is at the expected revision."""
        revision = self.assignment.revision if self.assignment else 0
        if expected is None or expected == revision:
            return
        raise Conflict(
            f"consumer {self.consumer.name} is at revision {revision}, not {expected} "
            f"({_winner(self.session, self.consumer.name)}): look at it again before you change it"
        )

    def judge(self, version: str, policy: Sequence[Gate], canary_share: float | None = None) -> tuple[Verdict, ...]:
        """The verdicts of the gates; raises GateRefused unless all accept or may be forced."""
        # Lock the version before judging it: it can neither fail nor be retired until this change is committed.
        candidate = version_row(self.session, version, lock=True)
        now = datetime.now(UTC)
        facts = read_gate_facts(self.session, self.consumer, self.assignment, candidate, now, canary_share)
        answers = verdicts(facts, policy)
        require_passed(self.consumer.name, answers, force=self._force)
        return answers

    def write(
        self,
        kind: PromotionKind,
        stable: str,
        answers: tuple[Verdict, ...],
        canary: str | None = None,
        canary_share: float | None = None,
    ) -> Promotion:
        """Write the new assignment and its history, and raise the generation that serving polls."""
        now = self._now()
        revision = self._assign(stable, canary, canary_share, now)
        row = PromotionRow(
            consumer=self.consumer.name,
            revision=revision,
            kind=kind,
            from_version=self.assignment.stable if self.assignment else None,
            to_version=stable,
            actor=self._actor,
            reason=self._reason,
            forced=not all(answer.accepted for answer in answers),
            gates=[dict(answer.to_json()) for answer in answers],
            promoted_at=now,
            canary=canary,
            canary_share=canary_share,
        )
        self.session.add(row)
        self.session.flush()
        keep_windows(self.session, self.consumer.name, now)
        bump(self.session, projected=self.assignment is None or stable != self.assignment.stable)  # Feast has no lanes
        self._entry.detail.update(_detail(row))
        return Promotion.from_row(row)

    def _now(self) -> datetime:
        # Never earlier than the last change, even if the clocks of two machines differ: `history(at=)` goes by time.
        now = datetime.now(UTC)
        return max(now, self.assignment.changed_at) if self.assignment else now

    def _assign(self, stable: str, canary: str | None, canary_share: float | None, now: datetime) -> int:
        row = self._row
        if row is None:
            row = AssignmentRow(consumer=self.consumer.name, revision=0)
            self.session.add(row)
        row.stable, row.canary, row.canary_share = stable, canary, canary_share
        row.revision, row.changed_at = row.revision + 1, now
        return row.revision


def _detail(row: PromotionRow) -> dict[str, object]:
    return {
        "from": row.from_version,
        "to": row.to_version,
        "canary": row.canary,
        "share": row.canary_share,
        "revision": row.revision,
        "reason": row.reason,
        "forced": row.forced,
    }


def _winner(session: Session, consumer: str) -> str:
    statement = select(PromotionRow).where(PromotionRow.consumer == consumer)
    last = session.scalars(statement.order_by(PromotionRow.revision.desc()).limit(1)).first()
    if last is None:
        return "nobody has changed it"
    match last.kind:
        case PromotionKind.CANARY:
            did = f"made it read the canary {last.canary} at share {last.canary_share:g}"
        case PromotionKind.ABORT:
            did = "ended its canary"
        case _:
            did = f"made it read {last.to_version}"
    return f"{last.actor} {did} at {last.promoted_at.isoformat()}"


def require_switch(consumer: str, assignment: Assignment | None, version: str) -> None:
    """Raise Conflict when the consumer reads `version` for all users already."""
    if assignment is None or assignment.stable != version:
        return
    if assignment.canary is None:
        raise Conflict(f"consumer {consumer} already reads {version}: nothing to promote")
    raise Conflict(
        f"consumer {consumer} already reads {version}, beside the canary {assignment.canary}: "
        f"end that with `portrait canary abort {consumer}`"
    )


def require_canary(consumer: str, assignment: Assignment | None, version: str, share: float) -> None:
    """Raise InvalidInput for a share outside (0, 1), Conflict unless `version` can be the canary at this share."""
    if not 0 < share < 1:  # NaN too
        raise InvalidInput(f"canary share {share}: give a number between 0 and 1, 0.05 for one user in twenty")
    if assignment is None:
        raise Conflict(
            f"consumer {consumer} reads nothing yet, and a canary needs a stable version beside it: "
            f"run `portrait promote {consumer} {version}` without --canary"
        )
    if assignment.stable == version:
        raise Conflict(f"consumer {consumer} already reads {version} for all users: choose another version as canary")
    if assignment.canary not in (None, version):
        raise Conflict(
            f"consumer {consumer} has the canary {assignment.canary} open: run `portrait canary finish {consumer}` "
            f"or `portrait canary abort {consumer}` first"
        )
    if assignment.canary == version and assignment.canary_share == share:
        raise Conflict(f"consumer {consumer} already reads the canary {version} at share {share:g}: give another share")


def require_open_canary(consumer: str, assignment: Assignment | None) -> str:
    """The canary of a consumer; raises Conflict when none is open."""
    if assignment is None or assignment.canary is None:
        begin = f"begin one with `portrait promote {consumer} VERSION --canary 0.05`"
        raise Conflict(f"consumer {consumer} has no canary open: {begin}")
    return assignment.canary


def narrows(assignment: Assignment | None, share: float) -> bool:
    """Whether `share` is below that of the open canary, so that some users leave it."""
    return assignment is not None and assignment.canary_share is not None and share < assignment.canary_share
