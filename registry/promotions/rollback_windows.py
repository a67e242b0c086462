"""Rollback windows: the versions that a consumer may go back to, and until when they are kept alive."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from portrait.registry.database.tables import EmbeddingVersionRow, PromotionKind, PromotionRow, RollbackWindowRow
from portrait.registry.errors import Conflict

ROLLBACK_WINDOW = timedelta(days=14)
"""How long a version is kept after a consumer has left it, so that the consumer can go back."""


@dataclass(frozen=True)
class Stay:
    """A stable version of a consumer, and since when the consumer has read it."""

    version: str
    since: datetime


def way_back(session: Session, consumer: str) -> list[Stay]:
    """The stable versions on a consumer's way back, oldest first; the last one is read now.

    Each promotion and each finished canary adds one, each rollback takes the last one away.
    """
    statement = select(PromotionRow.kind, PromotionRow.to_version, PromotionRow.promoted_at)
    rows = session.execute(statement.where(PromotionRow.consumer == consumer).order_by(PromotionRow.revision))
    way: list[Stay] = []
    for kind, version, at in rows:
        if kind in (PromotionKind.PROMOTE, PromotionKind.FINISH):
            way.append(Stay(version, at))
        elif kind == PromotionKind.ROLLBACK:
            way.pop()
    return way


def find_rollback_target(session: Session, consumer: str) -> str:
    """The version that a rollback goes to; raises Conflict when there is none."""
    way = way_back(session, consumer)
    if len(way) < 2:
        raise Conflict(
            f"consumer {consumer} has nothing to go back to: promote another version instead, or end a canary with "
            f"`portrait canary abort {consumer}`"
        )
    return way[-2].version


def keep_windows(session: Session, consumer: str, now: datetime) -> None:
    """Bring the rollback windows of a consumer in line with its way back, after a change of its assignment."""
    due = _due(way_back(session, consumer), now)
    of_consumer = RollbackWindowRow.consumer == consumer
    # In one statement: a retirement may delete an ended window at the same time.
    session.execute(delete(RollbackWindowRow).where(of_consumer, RollbackWindowRow.version.not_in(due)))
    present = {row.version: row for row in session.scalars(select(RollbackWindowRow).where(of_consumer))}
    for version, row in present.items():
        row.until = due[version]
    for version in _kept_versions(session, due.keys() - present.keys()):
        session.add(RollbackWindowRow(consumer=consumer, version=version, until=due[version]))
    session.flush()


def _due(way: list[Stay], now: datetime) -> dict[str, datetime]:
    """The end of the window of each version that was left; the version that is read now needs none."""
    ends = {left.version: entered.since + ROLLBACK_WINDOW for left, entered in pairwise(way)}
    return {version: until for version, until in ends.items() if until > now and version != way[-1].version}


def _kept_versions(session: Session, versions: Iterable[str]) -> list[str]:
    # By another machine's clock the window may have ended already, and the version may be retired.
    of_these = select(EmbeddingVersionRow.id).where(EmbeddingVersionRow.id.in_(list(versions)))
    return list(session.scalars(of_these.where(EmbeddingVersionRow.kept)))
