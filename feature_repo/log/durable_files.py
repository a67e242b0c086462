"""Durable files: there whole or not at all, on disk before anything names them, and known by a digest."""

import fcntl
import glob
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITING = ".writing"
"""The end of the name of every scratch file."""


@contextmanager
def replacement(path: Path, *, durable: bool = True, mode: int = 0o666) -> Iterator[Path]:
    """A scratch file that takes the place of `path` in one step when the block ends well, and is removed otherwise.

    It lies beside `path`, empty at first, under a name of its own that no reader looks for; those that killed writers
    of `path` have left there are removed. With `durable` it is on disk before; leave that out where a machine that dies
    loses nothing that is not made again. `mode` are the new file's permissions, before the process's mask.
    """
    for left in find_abandoned(path.parent.glob(f".{glob.escape(path.name)}-????????{WRITING}")):
        left.unlink(missing_ok=True)
    scratch, held = _make_scratch(path, mode)
    try:
        yield scratch
        if durable:
            put_in_place(scratch, path)
        else:
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
        os.close(held)


def _make_scratch(path: Path, mode: int) -> tuple[Path, int]:
    """A new scratch file, and the descriptor that locks it for as long as this process lives."""
    while True:
        scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}{WRITING}")
        held = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
        fcntl.flock(held, fcntl.LOCK_EX)
        if os.fstat(held).st_nlink:
            return scratch, held
        os.close(held)  # somebody took it for abandoned before it was locked


def find_abandoned(scratches: Iterable[Path]) -> Iterator[Path]:
    """Those of the scratch files whose writers do not live any more."""
    for scratch in scratches:
        with suppress(OSError), scratch.open("rb") as file:  # it is gone, or held
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield scratch


def put_in_place(scratch: Path, path: Path) -> None:
    """Have a finished file on disk, and then in the place of another, or of none, in one step."""
    sync(scratch)
    scratch.replace(path)
    sync(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Put the text into the file in one step; who reads meanwhile finds what was there before."""
    with replacement(path) as scratch:
        scratch.write_text(text)


def sync(path: Path) -> None:
    """Have the file or folder on disk before anything that names it is committed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
