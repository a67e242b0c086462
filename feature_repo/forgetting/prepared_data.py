"""Studies and unfinished trainings as a place: what they have made of all users' events, mostly without their ids."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.log.event_log import EventLog

FOLDERS = (
    "artifacts/.unfinished/*",  # trainings that were cut short,
    "studies/**/.unfinished/*",  # those of studies,
    "studies/*/prepared-*",  # and what all runs of a scaling study read
    "studies/*/preparing",
    "studies/*/curated",  # Feasts that are only measured: what a killed measurement has left
    "studies/*/shared",
)
LOCK = "lock"


class PreparedData:
    """Folders of sequences, of which none can be told to be the user's: they go whole, and are made when needed.

    Those that a living process holds stay until it ends.
    """

    name = "studies and unfinished trainings"

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def exists(self) -> bool:
        """Whether there is any such folder."""
        return bool(self._folders())

    def count(self, user: User) -> int:
        """Number of such folders, if the log knows the user."""
        return len(self._folders()) if user.id in self._log.user_ids(user.bucket) else 0

    def delete(self, user: User) -> None:
        """Remove them; to be called before the user leaves the log, which says whether they may hold the user."""
        if self.count(user):
            for folder in self._folders():
                with _claim(folder) as free:
                    if free:
                        shutil.rmtree(folder, ignore_errors=True)

    def in_use(self) -> int:
        """Number of folders that living processes hold."""
        found = 0
        for folder in self._folders():
            with _claim(folder) as free:
                found += not free
        return found

    def _folders(self) -> list[Path]:
        found = {path for pattern in FOLDERS for path in self._log.home.glob(pattern) if path.is_dir()}
        return sorted(found)


@contextmanager
def _claim(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds the folder, or the study that it lies in; for the length of the block nobody does."""
    lock = next((file for file in (folder / LOCK, folder.parent / LOCK) if file.exists()), None)
    if lock is None:
        yield True
        return
    try:
        with FileLock(lock, blocking=False):
            yield True
    except Timeout:
        yield False
