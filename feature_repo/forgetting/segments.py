"""Segments of the committed log as a place: those that hold the user are replaced by copies without the user."""

import pyarrow.compute as pc

from portrait.feature_repo.forgetting.log_edit import keep_rows
from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.rewriting import commit_edit, count_users
from portrait.registry.errors import Conflict

ATTEMPTS = 20


class Segments:
    """The user's rows in segments of one kind."""

    def __init__(self, log: EventLog, kind: SegmentKind, name: str) -> None:
        self._log = log
        self._kind = kind
        self.name = name

    def count(self, user: User) -> int:
        return self._log.read(
            lambda manifest: sum(
                count_users(self._log.home / segment.path, [user.id])
                for segment in manifest.segments_of(self._kind, (user.bucket,))
            )
        )

    def delete(self, user: User) -> None:
        """Write new files, swap them for the old ones in one transaction, and remove the old ones.

        The rows of others keep their positions, and a segment its id: a snapshot of them is still the same snapshot.
        """
        for _ in range(ATTEMPTS):
            manifest = self._log.manifest()
            replaced = [
                made
                for segment in manifest.segments_of(self._kind, (user.bucket,))
                if (made := keep_rows(self._log, segment, lambda rows: pc.not_equal(rows["user_id"], user.id)))
            ]
            if not replaced or commit_edit(self._log, manifest, [user.bucket], replaced):
                return
        raise Conflict(f"the log was written to {ATTEMPTS} times in a row while somebody was forgotten: do it again")
