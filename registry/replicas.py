"""Replicas: the gateways and refresh shards that are alive, and how far each has followed the registry."""

import builtins
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from registry.database import Database
from registry.records import Replica, Role
from registry.tables import ReplicaRow
from registry.text import one_line

ALIVE = timedelta(seconds=30)
"""A replica that was not seen for longer counts as gone."""

FORGOTTEN = timedelta(days=1)
"""After so long without a sign the row of a replica that did not say good-bye is deleted."""


class Replicas:
    """The serving processes of a registry. What they say about themselves is no change of it, and not audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(
        self, id: str, host: str, generation: int, role: Role = "gateway", facts: Mapping[str, Any] | None = None
    ) -> None:
        """Note that a replica is alive and follows the state at `generation`; call it every few seconds.

        `facts` is what it has counted so far, plain JSON values.
        """
        id, host = one_line("id of the replica", id, 64), one_line("host of the replica", host, 255)
        with self._database.transaction() as session:
            now = _now(session)
            sign = {"host": host, "generation": generation, "seen_at": now, "role": role, "facts": dict(facts or {})}
            insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
            statement = insert(ReplicaRow).values(id=id, started_at=now, **sign)
            upsert = statement.on_conflict_do_update(index_elements=[ReplicaRow.id], set_=sign)
            started_at = session.execute(upsert.returning(ReplicaRow.started_at)).scalar_one()
        if started_at == now:
            self._forget()

    def gone(self, id: str) -> None:
        """Note that a replica stops."""
        with self._database.transaction() as session:
            session.execute(delete(ReplicaRow).where(ReplicaRow.id == id))

    def list(self, within: timedelta = ALIVE) -> builtins.list[Replica]:
        """The replicas that were seen within a time, by id."""
        with self._database.reading() as session:
            alive = select(ReplicaRow).where(ReplicaRow.seen_at >= _now(session) - within)
            return [Replica.of(row) for row in session.scalars(alive.order_by(ReplicaRow.id))]

    def behind(self, generation: int, within: timedelta = ALIVE) -> builtins.list[Replica]:
        """Those of them that still serve an earlier state."""
        return [replica for replica in self.list(within) if replica.generation < generation]

    def _forget(self) -> None:
        # In a transaction of its own, which holds no other row: two that clean up never wait for each other.
        with self._database.transaction() as session:
            session.execute(delete(ReplicaRow).where(ReplicaRow.seen_at < _now(session) - FORGOTTEN))


def _now(session: Session) -> datetime:
    """The server's clock: the clocks of two hosts may be further apart than the time in which a replica is alive."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
