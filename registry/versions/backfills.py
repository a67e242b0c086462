"""Backfills: the users of a snapshot that a version has embedded, bucket by bucket, so that a killed pass resumes."""

import builtins
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.database.tables import LIVE_STATES, BackfillRow, EmbeddingVersionRow, VersionState
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.records.records import Backfill
from portrait.registry.rows import backfill_row, bump, version_row
from portrait.registry.serving_state.serving_state import generation_of
from portrait.registry.text import one_line


class Backfills:
    """The backfills of a registry's versions."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def announce(self, version: str) -> int:
        """Let the refresh cover a version from now on; returns the generation that all shards must follow.

        Once they follow it, they refresh each event that is accepted; a snapshot cut afterwards holds all earlier
        ones. Raises Conflict for a version that is retiring, retired or failed.
        """
        with self._audit.change(Action.BACKFILL_BEGIN, f"version {version}") as entry:
            session = entry.session
            owner = version_row(session, version, lock=True)
            _require_live(owner)
            entry.changed = owner.state == VersionState.REGISTERED
            if not entry.changed:
                return generation_of(session)
            entry.detail |= {"was": owner.state}
            owner.state = VersionState.BACKFILLING
            session.flush()
            return bump(session, projected=False)

    def begin(self, version: str, snapshot: str, as_of: datetime, users_expected: int) -> Backfill:
        """Begin the pass over a snapshot, or return the one already begun, whose `buckets_done` it may skip.

        A finished pass is returned as it is. A registered version becomes backfilling, a ready one stays ready.
        Raises Conflict for a version that is retiring, retired or failed, and for a snapshot that has changed other
        than by losing users who were forgotten.
        """
        with self._audit.change(Action.BACKFILL_BEGIN, f"version {version}") as entry:
            session = entry.session
            if users_expected < 0:
                raise InvalidInput(f"users_expected {users_expected}: give the users of the snapshot")
            owner = version_row(session, version, lock=True)
            _require_live(owner)
            snapshot = one_line("snapshot", snapshot, 128)
            row = _row_of_snapshot(session, version, snapshot)
            entry.changed = row is None
            row = row or _insert(session, version, snapshot, as_of, users_expected)
            entry.detail |= {"backfill": row.id, "snapshot": snapshot, "users_expected": row.users_expected}
            row.users_expected = min(row.users_expected, users_expected)
            _require_same(row, as_of, users_expected)
            registered = owner.state == VersionState.REGISTERED
            if registered:
                owner.state = VersionState.BACKFILLING
            if registered or entry.changed:  # from now on nobody encodes with an earlier as-of than this pass
                session.flush()
                bump(session, projected=False)
            return Backfill.from_row(row)

    def bucket_done(self, backfill_id: int, bucket: int, users: int) -> Backfill:
        """Record that all `users` of a bucket have their vector; many processes may do so at once.

        A bucket that is done again takes the later count. Raises NotFound, or Conflict when the pass has finished
        without this bucket or with fewer users in it, or when the version was failed or retired meanwhile.
        """
        if bucket < 0 or users < 0:
            raise InvalidInput(f"bucket {bucket} with {users} users: neither can be negative")
        with self._database.transaction() as session:
            row = backfill_row(session, backfill_id, lock=True)
            done = row.buckets_done.get(str(bucket))
            if done != users:
                if row.finished_at is not None and (done is None or done < users):
                    raise Conflict(f"backfill {backfill_id} of {row.version} has finished: begin another one")
                _require_live(version_row(session, row.version))
                row.buckets_done = {**row.buckets_done, str(bucket): int(users)}
            return Backfill.from_row(row)

    def finish(self, backfill_id: int, left: Mapping[int, int] | None = None) -> Backfill:
        """Finish a pass that covers every user; its version becomes ready. Finishing twice changes nothing.

        `left` is the number of users that each bucket of the snapshot has now: some may have been forgotten since the
        pass began. Raises Conflict when users are missing, or when the version was failed or retired meanwhile.
        """
        with self._audit.change(Action.BACKFILL_FINISH, f"backfill {backfill_id}") as entry:
            session = entry.session
            version = backfill_row(session, backfill_id).version
            entry.subject = f"version {version}"
            owner = version_row(session, version, lock=True)
            row = backfill_row(session, backfill_id, lock=True)
            entry.changed = row.finished_at is None
            if entry.changed:
                _require_live(owner)
                if left is not None:
                    _leave(row, left)
                _require_complete(row)
                entry.detail |= {"backfill": row.id, "snapshot": row.snapshot, "users": row.users_expected}
                row.finished_at = datetime.now(UTC)
                owner.state = VersionState.READY
                session.flush()
                bump(session, projected=False)
            return Backfill.from_row(row)

    def latest(self, version: str) -> Backfill | None:
        """The backfill of a version that was begun last, finished or not; None if there is none. Raises NotFound."""
        return next(reversed(self.list(version)), None)

    def list(self, version: str) -> builtins.list[Backfill]:
        """The backfills of a version in the order in which they began; raises NotFound for an unknown version."""
        with self._database.reading() as session:
            version_row(session, version)
            statement = select(BackfillRow).where(BackfillRow.version == version).order_by(BackfillRow.id)
            return [Backfill.from_row(row) for row in session.scalars(statement)]


def _row_of_snapshot(session: Session, version: str, snapshot: str) -> BackfillRow | None:
    statement = select(BackfillRow).where(BackfillRow.version == version, BackfillRow.snapshot == snapshot)
    return session.scalars(statement.with_for_update(key_share=True)).first()


def _insert(session: Session, version: str, snapshot: str, as_of: datetime, users_expected: int) -> BackfillRow:
    row = BackfillRow(
        version=version,
        snapshot=snapshot,
        as_of=as_of,
        buckets_done={},
        users_expected=int(users_expected),
        started_at=datetime.now(UTC),
    )
    session.add(row)
    session.flush()
    return row


def _require_live(version: EmbeddingVersionRow) -> None:
    if version.state not in LIVE_STATES:
        cause = f" ({version.failure})" if version.failure else ""
        raise Conflict(f"version {version.id} is {version.state}{cause}: backfill a live version, or train a new one")


def _leave(row: BackfillRow, left: Mapping[int, int]) -> None:
    """Lower the counts to the users who are left: some may have been forgotten after their bucket was done."""
    row.users_expected = min(row.users_expected, sum(left.values()))
    row.buckets_done = {bucket: min(users, left.get(int(bucket), 0)) for bucket, users in row.buckets_done.items()}


def _require_same(row: BackfillRow, as_of: datetime, users_expected: int) -> None:
    if (row.as_of, row.users_expected) != (as_of, users_expected):
        raise Conflict(
            f"backfill {row.id} of {row.version} was begun for snapshot {row.snapshot} as of {row.as_of.isoformat()} "
            f"with {row.users_expected} users, not as of {as_of.isoformat()} with {users_expected}: "
            "a changed snapshot needs a name of its own"
        )


def _require_complete(row: BackfillRow) -> None:
    done = sum(row.buckets_done.values())
    if done != row.users_expected:
        raise Conflict(
            f"backfill {row.id} of {row.version} has embedded {done:,} of {row.users_expected:,} users: "
            f"run `portrait backfill {row.version}` again, it goes on where it stopped"
        )
