"""A full disk in one line, whichever library has met it first."""

import errno
from pathlib import Path

FULL = ("No space left on device", "disk is full", "Disk quota exceeded")
"""What SQLite, DuckDB, Arrow and workers of Ray say; their errors carry no number."""


def say_full_disk(error: BaseException) -> str | None:
    """The line for an error that a full disk has caused, at whatever depth; None for any other error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" ({Path(str(seen.filename)).parent})" if seen.filename else ""
            return _line(where)
        if any(words in str(seen) for words in FULL):
            return _line("")
        seen = seen.__cause__ or seen.__context__
    return None


def _line(where: str) -> str:
    return (
        f"the disk is full{where}: nothing half-written is read by anybody. Free some space and run the same command "
        "again, which removes what was left; PORTRAIT_HOME may move to a larger disk"
    )
