"""Consumers: the downstream models that read embeddings."""

import builtins
import re
from datetime import UTC, datetime

from sqlalchemy import select

from registry.audit import Audit
from registry.database import Database
from registry.errors import Conflict, InvalidInput
from registry.records import Assignment, Consumer
from registry.rows import assignment_row, bump, consumer_row
from registry.tables import ConsumerRow
from registry.text import free_text, one_line

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# A consumer's feature service bears its name; this one is taken by the representation model's inputs.
_RESERVED = {"representation_inputs"}


class Consumers:
    """The consumers of a registry."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def add(self, name: str, owner: str, task: str = "") -> Consumer:
        """Add a consumer; the same again changes nothing.

        Raises InvalidInput for a name that cannot be one, Conflict when it exists with another owner or task.
        """
        _require_name(name)
        owner, task = one_line("owner", owner, 128), free_text("task", task, 256)
        with self._database.transaction() as session:
            row = session.get(ConsumerRow, name)
            if row is None:
                bump(session)  # first, for its lock: two processes that add the same name take turns
                row = session.get(ConsumerRow, name)
            if row is None:
                row = ConsumerRow(name=name, owner=owner, task=task, created_at=datetime.now(UTC))
                session.add(row)
            elif (row.owner, row.task) != (owner, task):
                raise Conflict(
                    f"consumer {name} exists, owned by {row.owner} for {row.task!r}: "
                    f"choose another name, or change it with `portrait consumer set {name}`"
                )
            return Consumer.of(row)

    def set(self, name: str, owner: str | None = None, task: str | None = None) -> Consumer:
        """Change the owner, the task or both; raises NotFound."""
        with self._database.transaction() as session:
            row = consumer_row(session, name, lock=True)
            row.owner = row.owner if owner is None else one_line("owner", owner, 128)
            row.task = row.task if task is None else free_text("task", task, 256)
            session.flush()
            bump(session)
            return Consumer.of(row)

    def get(self, name: str) -> Consumer:
        """The consumer `name`; raises NotFound, which names the known ones."""
        with self._database.reading() as session:
            return Consumer.of(consumer_row(session, name))

    def assignment(self, name: str) -> Assignment | None:
        """What the consumer reads now, None before its first promotion; raises NotFound."""
        with self._database.reading() as session:
            consumer_row(session, name)
            row = assignment_row(session, name)
            return Assignment.of(row) if row else None

    def list(self) -> builtins.list[Consumer]:
        """All consumers by name."""
        with self._database.reading() as session:
            return [Consumer.of(row) for row in session.scalars(select(ConsumerRow).order_by(ConsumerRow.name))]


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"consumer name {name!r}: begin with a lower case letter, go on with lower case letters, digits and _, "
            "at most 63"
        )
    if name in _RESERVED:
        raise InvalidInput(f"consumer name {name!r} is the name of a feature service of Portrait's own: take another")
