"""Retirements: the end of a version's life, refused while anything pins the version."""

from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.database.tables import AssignmentRow, EmbeddingVersionRow, RollbackWindowRow, VersionState
from portrait.registry.errors import Conflict
from portrait.registry.records.records import EmbeddingVersion, Pin
from portrait.registry.rows import bump, version_record, version_row
from portrait.registry.serving_state.serving_state import generation_of
from portrait.registry.text import free_text


class Retirements:
    """The retirements of a registry's versions: `begin` makes a version retiring, `finish` makes it retired.

    In between the caller waits for the gateways to follow, and removes the data. If it is killed there, the version
    stays retiring, and another `begin` goes on.
    """

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def begin(self, version: str, reason: str = "") -> int:
        """Let nothing read a version any more; returns the generation that every gateway must follow.

        For a version that is retiring already this is the present generation. Raises NotFound, and Conflict for a
        retired version and for a pinned one (the message names every pin).
        """
        with self._audit.change(Action.VERSION_RETIRE, f"version {version}") as entry:
            session = entry.session
            entry.detail["reason"] = free_text("reason", reason)
            row = version_row(session, version, lock=True)
            if row.state == VersionState.RETIRING:
                entry.changed = False
                return generation_of(session)
            if row.state == VersionState.RETIRED:
                raise Conflict(f"version {version} is retired: nothing of it is left but its artifact and its history")
            _require_unpinned(session, version)
            entry.detail["was"] = row.state
            _retire(session, row)
            return bump(session)

    def finish(self, version: str) -> EmbeddingVersion:
        """Record that the data of a retiring version is gone; calling it again changes nothing.

        Raises NotFound, or Conflict when the retirement was not begun.
        """
        with self._audit.change(Action.VERSION_RETIRED, f"version {version}") as entry:
            session = entry.session
            row = version_row(session, version, lock=True)
            if row.state not in (VersionState.RETIRING, VersionState.RETIRED):
                raise Conflict(f"version {version} is {row.state}: run `portrait retire {version}`")
            entry.changed = row.state == VersionState.RETIRING
            if entry.changed:
                row.state = VersionState.RETIRED
                session.flush()
                bump(session, projected=False)  # its view has left already
            return version_record(session, row)

    def pins(self) -> list[Pin]:
        """The pins of all versions, by version and consumer: assignments, and rollback windows that are open."""
        with self._database.reading() as session:
            return _pins(session)


def _pins(session: Session) -> list[Pin]:
    pins = []
    for row in session.scalars(select(AssignmentRow)):
        pins.append(Pin(row.stable, row.consumer, "stable"))
        if row.canary is not None:
            pins.append(Pin(row.canary, row.consumer, "canary"))
    windows = select(RollbackWindowRow).where(RollbackWindowRow.until > datetime.now(UTC))
    pins += [Pin(row.version, row.consumer, "rollback", row.until) for row in session.scalars(windows)]
    return sorted(pins, key=lambda pin: (pin.version, pin.consumer, pin.why))


def _require_unpinned(session: Session, version: str) -> None:
    pins = [pin for pin in _pins(session) if pin.version == version]
    if pins:
        raise Conflict(
            f"version {version} is pinned: {'; '.join(map(_pin_text, pins))}. "
            "Promote these consumers to another version, and let the rollback windows end"
        )


def _pin_text(pin: Pin) -> str:
    if pin.until is not None:
        return f"{pin.consumer} may roll back to it until {pin.until.isoformat(timespec='seconds')}"
    return f"{pin.consumer} reads it as its {pin.why}"


def _retire(session: Session, row: EmbeddingVersionRow) -> None:
    """Delete the windows that have ended, as they still pin the version in the database; then mark it retiring."""
    version = row.id
    ended = RollbackWindowRow.until <= datetime.now(UTC)
    session.execute(delete(RollbackWindowRow).where(RollbackWindowRow.version == version, ended))
    row.state, row.kept = VersionState.RETIRING, False
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(
            f"version {version} was pinned by somebody else at this moment: `portrait status` shows what keeps it alive"
        ) from error
