"""Working folders inside the home, and the sweeping of what killed processes left behind."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.log.manifest import Manifest
from feature_repo.log.segments import FOLDERS

STAGING = "staging"
LEFT_BEHIND = 24 * 3600.0
"""Seconds after which an uncommitted file belongs to no living process."""


@contextmanager
def working_folder(home: Path, prefix: str) -> Iterator[Path]:
    """A folder of its own under `home/staging`, removed with everything in it when the block ends."""
    parent = home / STAGING
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def spill_folder(home: Path) -> Iterator[Path]:
    """Where DuckDB may spill to; made by DuckDB only when it has to."""
    folder = home / STAGING / f"spill-{os.getpid()}-{time.monotonic_ns()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(home: Path, manifest: Manifest, older_than: float = LEFT_BEHIND) -> list[Path]:
    """Remove working folders and uncommitted segment files older than `older_than` seconds; returns them.

    `manifest` must have been read before the call, by this process.
    """
    committed = {home / segment.path for segment in manifest.segments}
    before = time.time() - older_than
    candidates = [*(home / STAGING).glob("*"), *(home / "snapshots").glob(".cut-*")]
    for folder in FOLDERS.values():
        candidates += [path for path in (home / folder).rglob("*.parquet") if path not in committed]
    left = [path for path in candidates if _modified(path) < before]
    for path in left:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return left


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
