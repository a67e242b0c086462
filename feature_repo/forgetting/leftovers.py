"""What killed processes left behind: working folders, and segment files that were never committed."""

from pathlib import Path

import pyarrow as pa

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.rewriting import count_users
from portrait.feature_repo.log.staging import sweep, uncommitted


class Leftovers:
    """Segment files that no row names and that hold the user, and all that dead processes have left."""

    name = "files of killed processes"

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def count(self, user: User) -> int:
        """Segment files that hold the user."""
        return len(self._holding(user))

    def delete(self, user: User) -> None:
        """Remove what is certainly nobody's, and files that nobody may commit any more because the user is in them."""
        sweep(self._log.home, self._log.manifest)
        for path in self._holding(user):
            path.unlink(missing_ok=True)

    def _holding(self, user: User) -> list[Path]:
        return [path for path in uncommitted(self._log.home, self._log.manifest, user.bucket) if _holds(path, user)]


def _holds(path: Path, user: User) -> bool:
    try:
        return count_users(path, [user.id]) > 0
    except (OSError, pa.ArrowInvalid):  # somebody is just writing it, or is gone: then it is removed as a dead one's
        return False
