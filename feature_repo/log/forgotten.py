"""Forgotten users and deleted events, known only by a keyed hash of their ids."""

import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from portrait.feature_repo.log.tables import ForgottenRow
from portrait.registry.database.database import Database

KEY_FILE = "forget.key"
REASON = "the user was forgotten"
"""The reason of rejected rows of forgotten users; nothing else of these rows is kept."""

DELETED = "the event was deleted"
"""The reason of rejected rows of deleted events; nothing else of these rows is kept either."""

EVENT = "event:"
"""The start of the digests of events; those of users are hexadecimal."""

ASKED_AT_ONCE = 10_000
"""Digests in one query; SQLite takes no more than 32,766 parameters."""


@dataclass(frozen=True)
class Tombstones:
    """The users who are forgotten and the events that are deleted at one moment; equal when they are the same."""

    digests: frozenset[str]
    _digest: Callable[[str], str] = field(compare=False, repr=False)
    _event_digest: Callable[[str], str] = field(compare=False, repr=False)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def among(self, user_ids: Iterable[str]) -> set[str]:
        """Those of the users who are forgotten."""
        return {user for user in user_ids if self._digest(user) in self.digests} if self.digests else set()

    @property
    def of_events(self) -> bool:
        """Whether any event is deleted."""
        return any(digest.startswith(EVENT) for digest in self.digests)

    def events_among(self, event_ids: Iterable[str]) -> set[str]:
        """Those of the events that are deleted."""
        return {event for event in event_ids if self._event_digest(event) in self.digests} if self.of_events else set()


class Forgotten:
    """Tells of which users nothing may be accepted, and which events may not.

    The key lies in the home, away from the database with the hashes: one of them alone identifies nobody.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def digest(self, user_id: str) -> str:
        """HMAC-SHA256 of the id, in hexadecimal."""
        return hmac.digest(self._key, user_id.encode(), "sha256").hex()

    def event_digest(self, event_id: str) -> str:
        """The digest of an event's id, told from those of users by its beginning."""
        return EVENT + self.digest(event_id)[: 64 - len(EVENT)]

    def among(self, session: Session, user_ids: Iterable[str]) -> set[str]:
        """Those of the users who are being forgotten, or have been; cheap while there are none."""
        if session.scalar(select(ForgottenRow.digest).limit(1)) is None:
            return set()
        return _with_tombstone(session, {self.digest(user): user for user in user_ids})

    def events_among(self, session: Session, event_ids: Iterable[str]) -> set[str]:
        """Those of the events that are being deleted, or have been; cheap while there are none."""
        if session.scalar(select(ForgottenRow.digest).where(ForgottenRow.digest.startswith(EVENT)).limit(1)) is None:
            return set()
        return _with_tombstone(session, {self.event_digest(event): event for event in event_ids})

    def tombstones(self, session: Session) -> Tombstones:
        """All tombstones, for the judging of a whole file."""
        digests = frozenset(session.scalars(select(ForgottenRow.digest)))
        return Tombstones(digests, self.digest, self.event_digest)

    @cached_property
    def _key(self) -> bytes:
        path = self._home / KEY_FILE
        if not path.exists():
            hidden = path.with_name(f".{KEY_FILE}-{secrets.token_hex(4)}")
            hidden.touch(mode=0o600)
            hidden.write_bytes(secrets.token_bytes(32))
            try:
                os.link(hidden, path)  # unlike a rename, it keeps the key of a faster process
            except FileExistsError:
                pass
            finally:
                hidden.unlink()
        return path.read_bytes()


def _with_tombstone(session: Session, ids: Mapping[str, str]) -> set[str]:
    """Those of the ids, by digest, that have a tombstone."""
    digests, found = list(ids), set[str]()
    for start in range(0, len(digests), ASKED_AT_ONCE):
        some = ForgottenRow.digest.in_(digests[start : start + ASKED_AT_ONCE])
        found.update(ids[digest] for digest in session.scalars(select(ForgottenRow.digest).where(some)))
    return found


def count_unfinished(database: Database) -> int:
    """Number of users and events whose forgetting, or correction, was asked for and is not finished."""
    with database.reading() as session:
        unfinished = ForgottenRow.finished_at.is_(None)
        return session.scalar(select(func.count()).select_from(ForgottenRow).where(unfinished)) or 0
