"""Files with a row a user: snapshots, vectors at rest, labels."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.history.snapshot import FOLDER, file_name, recounted, save, snapshots
from portrait.feature_repo.log.rewriting import Rewriter, count_users


class UserFiles:
    """Parquet files of a home with a column `user_id`; `{bucket}` in a pattern stands for the user's own file."""

    def __init__(self, home: Path, rewriter: Rewriter, name: str, pattern: str) -> None:
        self._home = home
        self._rewriter = rewriter
        self._pattern = pattern
        self.name = name

    def count(self, user: User) -> int:
        """Rows of the files."""
        rows = 0
        for path in self._files(user):
            with suppress(FileNotFoundError):  # its version is being retired
                rows += count_users(path, [user.id])
        return rows

    def delete(self, user: User) -> None:
        """Rewrite those that hold the user."""
        for path in self._files(user):
            with suppress(FileNotFoundError):
                self._rewriter.strike(path, [user.id])

    def _files(self, user: User) -> Iterator[Path]:
        return self._home.glob(self._pattern.format(bucket=file_name(user.bucket)))


class SnapshotFiles(UserFiles):
    """The user's rows in all snapshots, those that are just being cut too, and the number of users of each."""

    def __init__(self, home: Path, rewriter: Rewriter) -> None:
        super().__init__(home, rewriter, "snapshots", FOLDER + "/*/*/{bucket}")

    def delete(self, user: User) -> None:
        """Rewrite the files, then count anew; killed in between, the next call finds the count to be wrong."""
        super().delete(user)
        for snapshot in snapshots(self._home):
            if user.bucket in snapshot.buckets:
                corrected = recounted(snapshot)
                if corrected is not snapshot:
                    save(corrected)
