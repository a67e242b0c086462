"""Compaction of SQLite files: afterwards no deleted row is left in free pages or in the write-ahead log."""

import sqlite3
from contextlib import closing
from pathlib import Path

BUSY_SECONDS = 10.0
"""How long compaction waits for other readers and writers of the file."""


def compact(path: Path, seconds: float = BUSY_SECONDS) -> list[str]:
    """Rewrite a database and empty its write-ahead log; returns a sentence for each step that could not be done.

    Others may read and write meanwhile; only a transaction of theirs that lasts longer than `seconds` stops it.
    """
    with closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as connection:
        try:
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            return [f"{path.name} could not be vacuumed ({error}): do it again when it is less busy"]
    if busy:
        return [f"the write-ahead log of {path.name} could not be emptied, as somebody reads it: do it again later"]
    return []
