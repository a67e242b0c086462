"""Workspaces of unfinished runs: folders that are found again by their request, and held by one driver at a time."""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from portrait.feature_repo.log.durable_files import write_whole

REQUEST, LOCK = "request.json", "lock"


@dataclass(frozen=True)
class Workspace:
    """The folder of one unfinished run."""

    run: str
    folder: Path


@contextmanager
def claim(unfinished: Path, family: str, request: str) -> Iterator[Workspace]:
    """The unfinished run of this request, or a new one; nobody else can claim it inside the block.

    A run whose driver is alive is left to it.
    """
    unfinished.mkdir(parents=True, exist_ok=True)
    for folder in sorted(unfinished.iterdir()):
        if _request_of(folder) == request and (lock := _lock(folder)) is not None:
            with lock:
                if _request_of(folder) == request:
                    yield Workspace(folder.name, folder)
                    return
                shutil.rmtree(folder, ignore_errors=True)  # its run has just ended: taking the lock made it again
    now = datetime.now(UTC)
    run = f"{family}-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder = unfinished / run
    folder.mkdir()
    with FileLock(folder / LOCK):
        write_whole(folder / REQUEST, json.dumps({"request": request}))
        yield Workspace(run, folder)


def _request_of(folder: Path) -> str | None:
    path = folder / REQUEST
    try:
        return str(json.loads(path.read_text())["request"])
    except FileNotFoundError:
        return None


def _lock(folder: Path) -> AcquireReturnProxy[FileLock] | None:
    """The folder's lock unless another living process has it; the kernel gives it back when a process dies."""
    try:
        return FileLock(folder / LOCK, blocking=False).acquire()
    except Timeout:
        return None
