"""The facts of one promotion, read in its transaction, for the gates to judge."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.database.tables import EmbeddingVersionRow, EvaluationRow, HeadRow
from portrait.registry.gates.rule import GateFacts, Measurement
from portrait.registry.records.records import Assignment, Backfill, Consumer, Head
from portrait.registry.rows import newest_finished, version_record
from portrait.registry.versions.evidence import newest_evidence


def read_gate_facts(
    session: Session,
    consumer: Consumer,
    assignment: Assignment | None,
    version: EmbeddingVersionRow,
    now: datetime,
    canary_share: float | None = None,
) -> GateFacts:
    """Everything that the gates may look at when `consumer` asks for `version`."""
    backfill = newest_finished(session, version.id)
    return GateFacts(
        consumer=consumer,
        assignment=assignment,
        version=version_record(session, version),
        backfill=Backfill.from_row(backfill) if backfill else None,
        now=now,
        evidence=newest_evidence(session, version.id),
        heads=tuple(Head.from_row(row) for row in _heads(session, consumer, version.id)),
        measured=_measurements(session, consumer, version.id),
        measured_now=_measurements(session, consumer, assignment.stable) if assignment else (),
        canary_share=canary_share,
    )


def _heads(session: Session, consumer: Consumer, version: str) -> list[HeadRow]:
    statement = select(HeadRow).where(HeadRow.consumer == consumer.name, HeadRow.version == version)
    return list(session.scalars(statement.order_by(HeadRow.id)))


def _measurements(session: Session, consumer: Consumer, version: str) -> tuple[Measurement, ...]:
    """Measurements of the consumer's task on a version: its heads' metrics, and evaluations with a data stamp."""
    task = consumer.gates.task
    if not task:
        return ()
    by_heads = [
        Measurement(head.task, metric, head.data_stamp, head.as_of, value, head.created_at)
        for head in _heads(session, consumer, version)
        if head.task == task
        for metric, value in head.metrics.items()
    ]
    of_version = select(EvaluationRow).where(EvaluationRow.version == version, EvaluationRow.task == task)
    by_evaluations = [
        Measurement(row.task, row.metric, row.data_stamp, row.as_of, row.value, row.created_at)
        for row in session.scalars(of_version.order_by(EvaluationRow.id))
        if row.data_stamp is not None
    ]
    return (*by_heads, *by_evaluations)
