"""Tombstones of forgotten users and of deleted events, and the report of a forgetting.

From the commit of a tombstone on nothing of the user, or of the event, is accepted, until the tombstone is lifted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete

from portrait.feature_repo.log.forgotten import EVENT
from portrait.feature_repo.log.tables import ForgottenRow
from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.errors import Conflict, NotFound
from portrait.registry.rows import bump
from portrait.registry.serving_state.serving_state import generation_of

SHOWN = 16
"""Digits of a user's digest that audit and reports show."""

OUT_OF_REACH = (
    "the files that were ingested, and what `portrait export` and `portrait dataset` have written",
    "copies that consumers, heads and teams keep, and the sources of the teams' own features",
    "backups of databases, of the home and of Redis, write-ahead archives, replicas' own files",
    "logs of proxies in front of the gateway, which may hold the paths of requests",
    "models: the versions and studies' models trained with the user, and trainings that are under way",
)
ON_POSTGRES = "free space in Postgres's files, which keeps bytes of deleted rows until other rows take their place"


def subject_of(digest: str) -> str:
    """The name in audit and reports of a user or event whose id must not be kept."""
    kind, _, hashed = digest.rpartition(":")
    return f"{kind or 'user'} {hashed[:SHOWN]}"


@dataclass(frozen=True)
class TrainedVersion:
    """A version that was trained with the user, with its state when the forgetting began; or a study's model."""

    id: str
    state: str


@dataclass(frozen=True)
class ForgettingReport:
    """What was found of a user, and what Portrait cannot reach."""

    subject: str  # never the id
    asked_at: datetime
    finished_at: datetime
    found: dict[str, int]  # by place, before anything was deleted
    trained: tuple[TrainedVersion, ...]
    under_way: int  # working folders of living processes, which may hold the user until these end
    not_purged: tuple[str, ...]  # stores whose files could not be rewritten now
    out_of_reach: tuple[str, ...]

    @property
    def total(self) -> int:
        """How much was found in all places."""
        return sum(self.found.values())


def findings_to_json(found: Mapping[str, int], trained: Sequence[TrainedVersion]) -> dict[str, Any]:
    """The findings as plain values, as they are stored beside the tombstone."""
    return {"found": dict(found), "trained": [asdict(one) for one in trained]}


def trained_versions(kept: Mapping[str, Any]) -> tuple[TrainedVersion, ...]:
    """The trained versions of stored findings."""
    return tuple(TrainedVersion(**one) for one in kept["trained"])


@dataclass(frozen=True)
class Tombstone:
    """A user who is being forgotten, or has been; or an event that is being deleted or corrected, or was deleted."""

    digest: str
    asked_at: datetime
    finished_at: datetime | None
    kept: Mapping[str, Any]  # what was found

    @classmethod
    def from_row(cls, row: ForgottenRow) -> "Tombstone":
        return cls(row.digest, row.asked_at, row.finished_at, row.report)


class TombstoneLog:
    """The tombstones of an instance; each is laid and lifted with an audit event that names only a digest."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def drop(self, digest: str) -> None:
        """Take the tombstone of an event away whose correction is finished."""
        with self._database.transaction() as session:
            session.execute(delete(ForgottenRow).where(ForgottenRow.digest == digest))

    def get(self, digest: str) -> Tombstone | None:
        """The tombstone of a user, if there is one."""
        with self._database.reading() as session:
            row = session.get(ForgottenRow, digest)
            return None if row is None else Tombstone.from_row(row)

    def lay(self, digest: str, kept: Mapping[str, Any], action: Action = Action.USER_FORGET) -> int:
        """Accept nothing of a user or event from this commit on; returns the generation that shards must have seen.

        Who has a tombstone keeps it.
        """
        with self._audit.change(action, subject_of(digest)) as entry:
            session = entry.session
            if session.get(ForgottenRow, digest) is not None:
                entry.changed = False
                return generation_of(session)
            session.add(ForgottenRow(digest=digest, asked_at=datetime.now(UTC), finished_at=None, report=dict(kept)))
            entry.detail |= kept
            session.flush()
            return bump(session, projected=False)

    def finish(self, digest: str) -> Tombstone:
        """Note that nothing of the user is left; raises NotFound when the tombstone was lifted meanwhile."""
        with self._database.transaction() as session:
            row = session.get(ForgottenRow, digest)
            if row is None:
                raise NotFound(f"the tombstone of {subject_of(digest)} was lifted while its data was being deleted")
            row.finished_at = row.finished_at or datetime.now(UTC)
            return Tombstone.from_row(row)

    def lift(self, digest: str, action: Action = Action.USER_LIFT) -> None:
        """Accept data of the user, or the event, again.

        Raises NotFound without a tombstone, Conflict while the forgetting, or the correction, is not finished.
        """
        event = digest.startswith(EVENT)
        with self._audit.change(action, subject_of(digest)) as entry:
            session = entry.session
            row = session.get(ForgottenRow, digest)
            if row is None:
                what = "event is not deleted" if event else "user is not forgotten"
                raise NotFound(f"this {what}: there is nothing to lift")
            if row.finished_at is None:
                doing = "deleted or corrected: run that" if event else "forgotten: run `portrait forget` for this user"
                raise Conflict(
                    f"{subject_of(digest)} is still being {doing} again, it goes on where it stopped, and lift it then"
                )
            entry.detail["asked_at"] = row.asked_at.isoformat()
            session.delete(row)
            session.flush()
            bump(session, projected=False)
