"""Folders of unfinished runs: found again by what was asked for, and held by one driver at a time."""

import fcntl
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from portrait.feature_repo.log.durable_files import write_whole

REQUEST = "request.json"


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
        if _request_of(folder) != request:
            continue
        with (folder / "lock").open("a") as lock:
            if _locked(lock) and folder.exists():
                yield Workspace(folder.name, folder)
                return
    now = datetime.now(UTC)
    run = f"{family}-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder = unfinished / run
    folder.mkdir()
    with (folder / "lock").open("a") as lock:
        _locked(lock)
        write_whole(folder / REQUEST, json.dumps({"request": request}))
        yield Workspace(run, folder)


def _request_of(folder: Path) -> str | None:
    path = folder / REQUEST
    try:
        return str(json.loads(path.read_text())["request"])
    except FileNotFoundError:
        return None


def _locked(lock: IO[str]) -> bool:
    """Take the lock unless another living process has it; the kernel gives it back when a process dies."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
