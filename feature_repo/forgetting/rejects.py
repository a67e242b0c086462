"""Rejected rows: kept as the file had them, so the user may be named in any cell."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.log.rewriting import Rewriter


class Rejects:
    """Rows of rejects files that name the user as a word of its own, in whatever column."""

    name = "rejects"

    def __init__(self, home: Path, rewriter: Rewriter) -> None:
        self._home = home
        self._rewriter = rewriter

    def count(self, user: User) -> int:
        """Such rows of all files."""
        return sum(int(pc.sum(named).as_py() or 0) for _, _, named in self._files(user))

    def delete(self, user: User) -> None:
        """Rewrite the files without them, and remove those that have no other."""
        for path, table, named in self._files(user):
            if pc.all(named).as_py():
                path.unlink(missing_ok=True)
            elif pc.any(named).as_py():
                self._rewriter.replace(path, table.filter(pc.invert(named)))

    def _files(self, user: User) -> Iterator[tuple[Path, pa.Table, pa.ChunkedArray]]:
        word = rf"(^|\W){re.escape(user.id)}($|\W)"  # RE2 knows no look-around
        for path in sorted((self._home / "rejects").glob("*.parquet")):
            table = pq.read_table(path, partitioning=None)
            named = pa.chunked_array([pa.repeat(False, table.num_rows)])
            for column in table.columns:
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    named = pc.or_(named, pc.fill_null(pc.match_substring_regex(column, word), False))
            yield path, table, named
