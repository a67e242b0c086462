"""Users to be forgotten, known by a keyed hash of their ids alone."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feature_repo.log.tables import ForgottenRow
from registry.database import Database

KEY_FILE = "forget.key"


class Forgotten:
    """Tells whom nothing may be accepted of.

    The key lies in the home, away from the database with the hashes: who has one of them alone can tell nobody.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def digest(self, user_id: str) -> str:
        """HMAC-SHA256 of the id, in hexadecimal."""
        return hmac.new(self._key, user_id.encode(), hashlib.sha256).hexdigest()

    def among(self, session: Session, user_ids: Iterable[str]) -> set[str]:
        """Those of the users who are being forgotten, or have been."""
        digests = set(session.scalars(select(ForgottenRow.digest)))
        return {user for user in user_ids if self.digest(user) in digests} if digests else set()

    @cached_property
    def _key(self) -> bytes:
        path = self._home / KEY_FILE
        if not path.exists():
            hidden = path.with_name(f".{KEY_FILE}-{secrets.token_hex(4)}")
            hidden.touch(mode=0o600)
            hidden.write_bytes(secrets.token_bytes(32))
            try:
                os.link(hidden, path)  # unlike a rename, it leaves the key of somebody who was faster
            except FileExistsError:
                pass
            finally:
                hidden.unlink()
        return path.read_bytes()


def count_unfinished(database: Database) -> int:
    """How many users have been asked to be forgotten and are not wholly."""
    with database.reading() as session:
        unfinished = ForgottenRow.finished_at.is_(None)
        return session.scalar(select(func.count()).select_from(ForgottenRow).where(unfinished)) or 0
