"""API keys: who may do what over HTTP. A key is shown once; only its SHA-256 is kept."""

import builtins
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.database.tables import ApiKeyRow
from portrait.registry.errors import InvalidInput, NotFound
from portrait.registry.records.grants import ANY, Grant
from portrait.registry.records.records import ApiKey
from portrait.registry.rows import bump, consumer_row
from portrait.registry.text import one_line

SECRET_BYTES = 32
"""256 random bits: nobody can guess a key, so its digest needs neither salt nor a slow hash."""

_ID = re.compile(r"[0-9a-f]{8}")
_NOBODYS = hashlib.sha256(b"").hexdigest()


class Keys:
    """The API keys of a registry. Gateways follow a change within a second."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def add(self, name: str, grants: Sequence[Grant]) -> tuple[ApiKey, str]:
        """A new key, and its text `portrait_<id>_<43 characters>`, which is stored nowhere.

        The name is the actor in the audit; two keys may share one, while one replaces the other. Raises InvalidInput
        without a name or a grant, NotFound for a grant on an unknown consumer.
        """
        with self._audit.change(Action.KEY_ADD, f"key of {name}") as entry:
            session = entry.session
            entry.detail |= {"name": name, "grants": [str(grant) for grant in grants]}
            name = one_line("name of the key", name, 64)
            _require_grants(session, grants)
            bump(session, projected=False)  # now, for its lock: two keys made at once get different ids
            id = _free_id(session)
            text = f"portrait_{id}_{secrets.token_urlsafe(SECRET_BYTES)}"
            row = ApiKeyRow(
                id=id,
                name=name,
                sha256=_digest(text),
                grants=[str(grant) for grant in dict.fromkeys(grants)],
                created_at=datetime.now(UTC),
                created_by=self._audit.actor,
            )
            session.add(row)
            entry.subject = f"key {id}"
            return ApiKey.from_row(row), text

    def list(self) -> builtins.list[ApiKey]:
        """All keys, the revoked ones too, the oldest first."""
        with self._database.reading() as session:
            statement = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
            return [ApiKey.from_row(row) for row in session.scalars(statement)]

    def revoke(self, id: str) -> ApiKey:
        """Revoke a key for good; revoking it again changes nothing. Raises NotFound."""
        # When somebody pastes the key itself instead of its id, it must not get into the audit or a message.
        shown = id if _ID.fullmatch(id) else "?"
        with self._audit.change(Action.KEY_REVOKE, f"key {shown}") as entry:
            row = entry.session.get(ApiKeyRow, shown, with_for_update={"key_share": True})
            if row is None:
                what = f"there is no key {id}" if shown == id else "this is no id of a key, which has 8 characters"
                raise NotFound(f"{what}: `portrait keys list` shows the ids")
            entry.detail["name"] = row.name
            entry.changed = row.revoked_at is None
            if entry.changed:
                row.revoked_at = datetime.now(UTC)
                entry.session.flush()
                bump(entry.session, projected=False)
            return ApiKey.from_row(row)


def find_key(keys: Mapping[str, ApiKey], presented: str) -> ApiKey | None:
    """The key whose text was presented; None for an unknown or revoked one.

    A wrong secret takes as long as the right one; ids are not secret.
    """
    id = presented.split("_", 2)[1] if presented.count("_") >= 2 else ""
    key = keys.get(id)
    matches = hmac.compare_digest(_digest(presented), key.sha256 if key else _NOBODYS)
    return key if key is not None and matches and key.revoked_at is None else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _require_grants(session: Session, grants: Sequence[Grant]) -> None:
    if not grants:
        raise InvalidInput("a key without a grant can do nothing: give it at least one scope")
    for grant in grants:
        if grant.consumer not in (None, ANY):
            consumer_row(session, str(grant.consumer))


def _free_id(session: Session) -> str:
    while session.get(ApiKeyRow, id := secrets.token_hex(4)) is not None:
        pass
    return id
