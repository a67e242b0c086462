"""Consumers: the downstream models that read embeddings."""

import builtins
import math
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.database.tables import ConsumerRow
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.records.gate_settings import GateSettingChanges, GateSettings, unknown_settings
from portrait.registry.records.records import Assignment, Consumer
from portrait.registry.rows import assignment_row, bump, consumer_row
from portrait.registry.text import free_text, one_line

ANY_AGE = 0.0
"""The `max_age` of a consumer that takes stored vectors of any age."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# A consumer's feature service bears its name; this one is taken by the representation model's inputs.
_RESERVED = {"representation_inputs"}


class Consumers:
    """The consumers of a registry."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def add(
        self,
        name: str,
        owner: str,
        task: str = "",
        gates: GateSettingChanges = (),
        wants_head: bool = False,
        max_age: float = ANY_AGE,
    ) -> Consumer:
        """Add a consumer; `gates` are the settings that differ from the defaults. The same again changes nothing.

        `max_age` is in seconds, ANY_AGE for vectors of any age. Raises InvalidInput for an impossible name or setting,
        Conflict when the consumer exists with other fields.
        """
        with self._audit.change(Action.CONSUMER_ADD, f"consumer {name}") as entry:
            session = entry.session
            _require_name(name)
            wanted = _fields(owner, task, GateSettings().overridden(gates), wants_head, max_age)
            row = session.get(ConsumerRow, name)
            if row is None:
                # Before the insert, for its lock: two processes that add the same name take turns.
                bump(session, projected=False)
                row = session.get(ConsumerRow, name)
            if row is None:
                row = ConsumerRow(name=name, created_at=datetime.now(UTC), **wanted)
                session.add(row)
                entry.detail |= wanted
            else:
                _require_same(row, wanted)
                entry.changed = False
            return Consumer.from_row(row)

    def set(
        self,
        name: str,
        owner: str | None = None,
        task: str | None = None,
        gates: GateSettingChanges = (),
        wants_head: bool | None = None,
        max_age: float | None = None,
    ) -> Consumer:
        """Change the fields that are given, and of the gate settings the named ones; ANY_AGE ends a `max_age`.

        Raises NotFound, or InvalidInput for an impossible setting.
        """
        with self._audit.change(Action.CONSUMER_SET, f"consumer {name}") as entry:
            row = consumer_row(entry.session, name, lock=True)
            now = Consumer.from_row(row)
            wanted = _fields(
                now.owner if owner is None else owner,
                now.task if task is None else task,
                now.gates.overridden(gates),
                now.wants_head if wants_head is None else wants_head,
                (now.max_age_seconds or ANY_AGE) if max_age is None else max_age,
            )
            wanted["gates"] |= unknown_settings(row.gates)
            changes = {field: value for field, value in wanted.items() if getattr(row, field) != value}
            entry.changed = bool(changes)
            for field, value in changes.items():
                entry.detail[field] = {"from": getattr(row, field), "to": value}
                setattr(row, field, value)
            if changes:
                entry.session.flush()
                bump(entry.session)
            return Consumer.from_row(row)

    def get(self, name: str) -> Consumer:
        """The consumer `name`; raises NotFound, which names the known ones."""
        with self._database.reading() as session:
            return Consumer.from_row(consumer_row(session, name))

    def assignment(self, name: str) -> Assignment | None:
        """The assignment of the consumer, None before its first promotion; raises NotFound."""
        with self._database.reading() as session:
            consumer_row(session, name)
            row = assignment_row(session, name)
            return Assignment.from_row(row) if row else None

    def list(self) -> builtins.list[Consumer]:
        """All consumers, ordered by name."""
        with self._database.reading() as session:
            return [Consumer.from_row(row) for row in session.scalars(select(ConsumerRow).order_by(ConsumerRow.name))]


def _fields(owner: str, task: str, gates: GateSettings, wants_head: bool, max_age: float) -> dict[str, Any]:
    """The columns of a consumer's row that people choose; raises InvalidInput."""
    if not (math.isfinite(max_age) and max_age >= 0):
        raise InvalidInput(f"max_age {max_age}: give seconds, or {ANY_AGE:g} for vectors of any age")
    return {
        "owner": one_line("owner", owner, 128),
        "task": free_text("task", task, 256),
        "gates": gates.to_json(),
        "wants_head": wants_head,
        "max_age_seconds": None if max_age == ANY_AGE else float(max_age),
    }


def _require_same(row: ConsumerRow, wanted: dict[str, Any]) -> None:
    others = [field for field, value in wanted.items() if getattr(row, field) != value]
    if others:
        raise Conflict(
            f"consumer {row.name} exists, owned by {row.owner} for {row.task!r}, with another {' and '.join(others)}: "
            f"choose another name, or change it with `portrait consumer set {row.name}`"
        )


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"consumer name {name!r}: begin with a lower case letter, go on with lower case letters, digits and _, "
            "at most 63"
        )
    if name in _RESERVED:
        raise InvalidInput(f"consumer name {name!r} is the name of a feature service of Portrait's own: take another")
