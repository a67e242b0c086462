"""Working folders inside the home, and the sweeping of what killed processes left behind.

A working folder is locked for as long as its process lives, so that nobody has to guess whether it still does.
"""

import fcntl
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from portrait.feature_repo.log.durable_files import WRITING, find_abandoned
from portrait.feature_repo.log.manifest import Manifest
from portrait.feature_repo.log.segments import FOLDERS

STAGING = "staging"
LOCK = "lock"
LEFT_BEHIND = 24 * 3600.0
"""Seconds after which an uncommitted file counts as abandoned, even if its process is unknown."""


@contextmanager
def working_folder(home: Path, name: str) -> Iterator[Path]:
    """A folder of its own `home/staging/<name>-...`, removed with everything in it when the block ends.

    Uncommitted segment files whose names begin with `name` belong to it: they are swept with it once its process is
    dead.
    """
    parent = home / STAGING
    parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose folders nobody else may enter: a snapshot is such a folder under its final name.
    hidden = parent / f".{name}-{secrets.token_hex(4)}"
    hidden.mkdir()
    folder = parent / hidden.name[1:]
    with (hidden / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hidden.rename(folder)  # now it is locked, and sweepers may look
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def spill_folder(home: Path) -> Iterator[Path]:
    """A working folder for DuckDB's spilled data."""
    with working_folder(home, "spill") as folder:
        yield folder


def living_folders(home: Path) -> list[Path]:
    """The working folders of living processes."""
    return [folder for folder in _working_folders(home) if _is_alive(folder)]


def sweep(home: Path, manifest: Callable[[], Manifest], older_than: float = LEFT_BEHIND) -> list[Path]:
    """Remove the files of dead processes, and uncommitted ones older than `older_than` seconds; returns them all."""
    before = time.time() - older_than
    dead = {folder for folder in _working_folders(home) if _is_alive(folder) is False}
    owners = tuple(folder.name.rpartition("-")[0] + "-" for folder in dead)
    old = {path for path in (home / STAGING).glob("*") if _modified_at(path) < before}
    left = {p for p in _segment_files(home) if p.name.startswith(owners) or _modified_at(p) < before}
    # Read last: files that were committed before their process died, or before they got old, are not abandoned.
    left -= {home / segment.path for segment in manifest().segments}
    for scratch in _find_scratches(home):  # removed while each is locked: a living writer sees it in time
        scratch.unlink(missing_ok=True)
        left.add(scratch)
    for path in [*sorted(left), *sorted(dead | old)]:  # the folders last: they name the owners of the files
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return sorted(left | dead | old)


def scratch_files(home: Path) -> list[Path]:
    """Half-written files that killed processes have left anywhere in the home."""
    return sorted(_find_scratches(home))


def _find_scratches(home: Path) -> Iterator[Path]:
    return find_abandoned(home.rglob(f".*-????????{WRITING}"))


def uncommitted_files(home: Path, manifest: Callable[[], Manifest], bucket: int) -> list[Path]:
    """Segment files of a bucket that no row of the manifest names: abandoned, or still being written."""
    inside = {path for path in _segment_files(home) if path.parent.name == f"bucket={bucket:02d}"}
    return sorted(inside - {home / segment.path for segment in manifest().segments})


def _segment_files(home: Path) -> Iterator[Path]:
    return (path for folder in FOLDERS.values() for path in (home / folder).rglob("*.parquet"))


def _working_folders(home: Path) -> list[Path]:
    return [path for path in (home / STAGING).glob("[!.]*") if path.is_dir()]


def _is_alive(folder: Path) -> bool | None:
    """Whether the folder's process lives; None when it cannot be told: the folder is vanishing, or has no lock."""
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
