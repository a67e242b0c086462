"""Replicas: the gateways and refresh shards that are alive, and how far each has followed the registry."""

import builtins
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from portrait.registry.database.database import Database
from portrait.registry.database.tables import ReplicaRow
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import Replica, Role
from portrait.registry.rows import database_now
from portrait.registry.text import one_line

ALIVE = timedelta(seconds=30)
"""A replica counts as gone when it was not seen for longer than this."""

FORGOTTEN = timedelta(days=1)
"""The row of a replica that ended without leaving is deleted when it was not seen for longer than this."""

ROLES: tuple[Role, ...] = ("gateway", "shard")
SHARDS: tuple[Role, ...] = ("shard",)


class Replicas:
    """The serving processes of a registry. Their reports do not change the registry and are not audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(
        self, id: str, host: str, generation: int, role: Role = "gateway", facts: Mapping[str, Any] | None = None
    ) -> None:
        """Record that a replica is alive and follows the state at `generation`; call it every few seconds.

        `facts` are its counters so far, as plain JSON values.
        """
        id, host = one_line("id of the replica", id, 64), one_line("host of the replica", host, 255)
        with self._database.transaction() as session:
            now = database_now(session)
            sign = {"host": host, "generation": generation, "seen_at": now, "role": role, "facts": dict(facts or {})}
            insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
            statement = insert(ReplicaRow).values(id=id, started_at=now, **sign)
            upsert = statement.on_conflict_do_update(index_elements=[ReplicaRow.id], set_=sign)
            started_at = session.execute(upsert.returning(ReplicaRow.started_at)).scalar_one()
        if started_at == now:
            self._forget()

    def gone(self, id: str) -> None:
        """Delete the row of a replica that stops."""
        with self._database.transaction() as session:
            session.execute(delete(ReplicaRow).where(ReplicaRow.id == id))

    def list(self, within: timedelta = ALIVE) -> builtins.list[Replica]:
        """The replicas that were seen within a time, ordered by id."""
        with self._database.reading() as session:
            alive = select(ReplicaRow).where(ReplicaRow.seen_at >= database_now(session) - within)
            return [Replica.from_row(row) for row in session.scalars(alive.order_by(ReplicaRow.id))]

    def behind(
        self, generation: int, within: timedelta = ALIVE, roles: Collection[Role] = ROLES
    ) -> builtins.list[Replica]:
        """The replicas of these roles, seen within a time, that follow an earlier state than `generation`."""
        return [r for r in self.list(within) if r.generation < generation and r.role in roles]

    def wait(
        self, generation: int, seconds: float, roles: Collection[Role] = ROLES, progress: Progress = silent
    ) -> builtins.list[Replica]:
        """Wait until all living replicas follow the generation; returns those that do not after `seconds`."""
        until = time.monotonic() + seconds
        while behind := self.behind(generation, roles=roles):
            if time.monotonic() > until:
                break
            alive = sum(replica.role in roles for replica in self.list())
            progress(" and ".join(f"{role}s" for role in roles), max(alive - len(behind), 0), alive)
            time.sleep(0.05)
        return behind

    def _forget(self) -> None:
        # In a transaction that locks no other row: two processes that clean up never wait for each other.
        with self._database.transaction() as session:
            session.execute(delete(ReplicaRow).where(ReplicaRow.seen_at < database_now(session) - FORGOTTEN))
