"""Heads: light downstream models of a consumer, each trained on the vectors of one version."""

import builtins
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.database.tables import LIVE_STATES, EmbeddingVersionRow, HeadRow
from portrait.registry.errors import Conflict, FingerprintMismatch, InvalidInput
from portrait.registry.records.records import Head
from portrait.registry.rows import consumer_row, version_row
from portrait.registry.text import one_line


@dataclass(frozen=True, kw_only=True)
class NewHead:
    """The description of a head that a team has trained; Portrait keeps its location, not the head itself."""

    consumer: str
    version: str
    fingerprint: str  # of the vectors that it was trained on; every answer carries it
    task: str
    data_stamp: str  # which data the metrics were measured on
    as_of: datetime
    metrics: Mapping[str, float]
    location: str  # a path or a URL

    def __post_init__(self) -> None:
        """Raise InvalidInput, with the value, for a field that the registry cannot keep."""
        for name, limit in (("fingerprint", 64), ("task", 128), ("data_stamp", 128), ("location", 1024)):
            object.__setattr__(self, name, one_line(name, getattr(self, name), limit))
        for name, value in self.metrics.items():
            one_line("metric", name, 64)
            if not math.isfinite(value):
                raise InvalidInput(f"metric {name} is {value}: leave it out, only finite values can be compared")


class Heads:
    """The heads of a registry."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def register(self, new: NewHead) -> Head:
        """Keep a head; if the newest head of its consumer and version is the same, return that one instead.

        Raises NotFound for an unknown consumer or version, FingerprintMismatch when the head was trained on other
        vectors, Conflict when the version is no longer live.
        """
        with self._audit.change(Action.HEAD_REGISTER, f"consumer {new.consumer}") as entry:
            session = entry.session
            entry.detail |= {"version": new.version, "task": new.task, "location": new.location}
            consumer_row(session, new.consumer)
            # With its lock the same head registered twice at once is kept once, and the version stays live meanwhile.
            _require_trainable(version_row(session, new.version, lock=True), new.fingerprint)
            row = _newest(session, new.consumer, new.version)
            if row is not None and _same(row, new):
                entry.changed = False
            else:
                row = self._insert(session, new)
            return Head.from_row(row)

    def list(self, consumer: str, version: str | None = None) -> builtins.list[Head]:
        """The heads of a consumer, on all versions or one, oldest first; raises NotFound for an unknown name."""
        statement = select(HeadRow).where(HeadRow.consumer == consumer).order_by(HeadRow.id)
        with self._database.reading() as session:
            consumer_row(session, consumer)
            if version is not None:
                version_row(session, version)
                statement = statement.where(HeadRow.version == version)
            return [Head.from_row(row) for row in session.scalars(statement)]

    def _insert(self, session: Session, new: NewHead) -> HeadRow:
        row = HeadRow(
            consumer=new.consumer,
            version=new.version,
            fingerprint=new.fingerprint,
            task=new.task,
            data_stamp=new.data_stamp,
            as_of=new.as_of,
            metrics=_floats(new.metrics),
            location=new.location,
            created_at=datetime.now(UTC),
            created_by=self._audit.actor,
        )
        session.add(row)
        session.flush()
        return row


def _require_trainable(version: EmbeddingVersionRow, fingerprint: str) -> None:
    if version.fingerprint != fingerprint:
        raise FingerprintMismatch(
            f"version {version.id} has fingerprint {version.fingerprint}, but the head was trained on vectors of "
            f"{fingerprint}: train it on this version's vectors, or register it for the version that it was trained on"
        )
    if version.state not in LIVE_STATES:
        raise Conflict(f"version {version.id} is {version.state}: train a head on a live version")


def _newest(session: Session, consumer: str, version: str) -> HeadRow | None:
    statement = select(HeadRow).where(HeadRow.consumer == consumer, HeadRow.version == version)
    return session.scalars(statement.order_by(HeadRow.id.desc()).limit(1)).first()


def _same(row: HeadRow, new: NewHead) -> bool:
    names = ("fingerprint", "task", "data_stamp", "as_of", "location")
    return row.metrics == _floats(new.metrics) and all(getattr(row, name) == getattr(new, name) for name in names)


def _floats(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
