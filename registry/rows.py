"""Queries that every change of the registry shares: rows by name, locks, the generation and the clock of the database.

Locks are taken in one order everywhere, so that two changes never wait for each other: consumer, its assignment,
version, backfill, and the instance last. On SQLite a transaction has the only write lock from its start.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import case, func, inspect, select, update
from sqlalchemy.orm import Session

from portrait.registry.database.database import CLOCK, utc_now
from portrait.registry.database.tables import (
    AssignmentRow,
    BackfillRow,
    Base,
    ConsumerRow,
    EmbeddingVersionRow,
    Instance,
)
from portrait.registry.errors import NotFound, RegistryMissing
from portrait.registry.records.records import AsOfs, EmbeddingVersion

Row = TypeVar("Row", bound=Base)


def bump(session: Session, *, projected: bool = True) -> int:
    """Raise the generation, which serving polls, and return it; the instance row stays locked until the commit.

    `projected` is false for a change that Feast does not show, of keys for instance: Feast does not fall behind by it.
    """
    next_one = Instance.generation + 1
    values: dict[str, Any] = {"generation": next_one}
    if not projected:
        level = Instance.projected == Instance.generation
        values["projected"] = case((level, next_one), else_=Instance.projected)
    generation = session.execute(update(Instance).values(values).returning(Instance.generation)).scalar()
    if generation is None:
        raise RegistryMissing("the registry has no instance row: run `portrait apply` first")
    return generation


def version_row(session: Session, version: str, *, lock: bool = False) -> EmbeddingVersionRow:
    """The row of a version; raises NotFound, which names the known ones."""
    return _row_by_name(session, EmbeddingVersionRow, version, "version", lock)


def consumer_row(session: Session, consumer: str, *, lock: bool = False) -> ConsumerRow:
    """The row of a consumer; raises NotFound, which names the known ones."""
    return _row_by_name(session, ConsumerRow, consumer, "consumer", lock)


def backfill_row(session: Session, backfill: int, *, lock: bool = False) -> BackfillRow:
    """The row of a backfill; raises NotFound."""
    row = _get(session, BackfillRow, backfill, lock)
    if row is None:
        raise NotFound(f"there is no backfill {backfill}: begin one with `portrait backfill VERSION`")
    return row


def assignment_row(session: Session, consumer: str, *, lock: bool = False) -> AssignmentRow | None:
    """The row of a consumer's assignment, if it has one."""
    return _get(session, AssignmentRow, consumer, lock)


def newest_finished(session: Session, version: str) -> BackfillRow | None:
    """The finished backfill with the greatest as-of: the one whose vectors stand in the stores."""
    statement = select(BackfillRow).where(BackfillRow.version == version, BackfillRow.finished_at.is_not(None))
    return session.scalars(statement.order_by(BackfillRow.as_of.desc(), BackfillRow.id.desc()).limit(1)).first()


def as_ofs(session: Session, version: str | None = None) -> dict[str, AsOfs]:
    """The as-of times of the backfills of each version that has one, or of one version."""
    finished = case((BackfillRow.finished_at.is_not(None), BackfillRow.as_of))
    statement = select(BackfillRow.version, func.max(BackfillRow.as_of), func.max(finished))
    if version is not None:
        statement = statement.where(BackfillRow.version == version)
    rows = session.execute(statement.group_by(BackfillRow.version))
    return {id: AsOfs(begun, finished) for id, begun, finished in rows}


def version_record(session: Session, row: EmbeddingVersionRow) -> EmbeddingVersion:
    """The record of a version, with the as-of times of its backfills."""
    return EmbeddingVersion.from_row(row, as_ofs(session, row.id).get(row.id, AsOfs()))


def _get(session: Session, kind: type[Row], key: str | int, lock: bool) -> Row | None:
    # FOR NO KEY UPDATE: two changes of a row exclude each other, but a new row may refer to it meanwhile.
    return session.get(kind, key, with_for_update={"key_share": True} if lock else None)


def _row_by_name(session: Session, kind: type[Row], name: str, word: str, lock: bool) -> Row:
    row = _get(session, kind, name, lock) if name.isprintable() else None  # Postgres refuses some of the others
    if row is None:
        known = [str(key) for key in session.scalars(select(inspect(kind).primary_key[0]))]
        raise NotFound(f"there is no {word} {name!r}; known: {', '.join(sorted(known)) or 'none yet'}")
    return row


def database_now(session: Session) -> datetime:
    """The time on the database server, in UTC; the clocks of two hosts may differ by more than a lease lasts."""
    if session.get_bind().dialect.name == "sqlite":
        clock: Callable[[], datetime] = session.info.get(CLOCK, utc_now)
        return clock()
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
