"""Durable files: there whole or not at all, on disk before anything names them, and known by a digest."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacement(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A scratch file that takes the place of `path` in one step when the block ends well, and is removed otherwise.

    It lies beside `path`, under a name of its own that no reader looks for. With `durable` it is on disk before; leave
    that out where a machine that dies loses nothing that is not made again.
    """
    scratch = path.with_name(f".{path.name}-{secrets.token_hex(4)}.writing")
    try:
        yield scratch
        if durable:
            put_in_place(scratch, path)
        else:
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


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
