"""A folder of this process alone, for the sockets and files of Ray and of HAProxy.

Whoever can reach those commands Ray, or takes the gateway's traffic over. So the folder is 0700 and has a name that
nobody can guess and make first. It outlives its process, with the logs in it; the next process of the same user that
needs such a folder removes it, and ends what still runs there.
"""

import fcntl
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from portrait.registry.errors import Conflict

PREFIX = "portrait-"
LOCK = "in-use"
"""A file of the folder that its process keeps locked; the kernel unlocks it however the process ends."""

LONGEST_PARENT = 12
"""Bytes: the path of a socket has at most 107, and Ray and HAProxy append some 75 to that of the folder."""

RAY = "r"
"""Where in the folder a Ray of this process lies."""

SERVERS = ("haproxy", "raylet", "gcs_server")
"""Programs that may survive the process that started them."""

END_SECONDS = 5.0


@cache
def private_folder() -> Path:
    """The folder of this process, made on first use."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_parent()))
    made = folder / f".{LOCK}"
    descriptor = os.open(made, os.O_CREAT | os.O_RDWR, 0o600)  # closed, and so unlocked, when this process ends
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    made.rename(folder / LOCK)  # a file without its lock would be taken for that of a dead process
    return folder


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter; raises Conflict for one that is somebody else's, or a link."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Conflict(f"{folder} belongs to user {found.st_uid} or is a link: remove it, or set TMPDIR")
    folder.chmod(0o700)


def sweep() -> None:
    """Remove the folders of this user's processes that are no more, and end what they left running."""
    for folder in _parent().glob(f"{PREFIX}*"):
        with suppress(OSError):
            _sweep(folder)


def end_servers(folder: Path) -> bool:
    """End the servers that work on the folder of a process that has ended or is about to; returns whether none is left.

    The HAProxy of a cluster that the process only joined goes on as long as that cluster's actor.
    """
    own_ray = (folder / RAY).exists()
    until = time.monotonic() + END_SECONDS
    while running := list(_servers(folder)):
        ending = [pid for pid in running if own_ray or _orphan(pid)]
        for pid in ending:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not ending or time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _parent() -> Path:
    chosen = Path(tempfile.gettempdir())
    return chosen if len(os.fsencode(chosen)) <= LONGEST_PARENT else Path("/tmp")


def _sweep(folder: Path) -> None:
    if folder.lstat().st_uid != os.getuid():
        return
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if end_servers(folder):
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _servers(folder: Path) -> Iterator[int]:
    """Pids of this user's servers that have a path in the folder among their arguments."""
    within = os.fsencode(folder) + b"/"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.getuid():
                continue
            program, *arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if os.path.basename(program).decode(errors="replace") in SERVERS and any(within in one for one in arguments):  # noqa: PTH119
            yield int(process.name)


def _orphan(pid: int) -> bool:
    """Whether the process's parent is no longer one of Ray's, which call themselves `ray::...`."""
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return not Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return True
