"""A log of JSON lists and objects, one a line, that a killed writer cannot spoil."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


class JsonLines:
    """Lines are only ever added; half of one, which a killed writer left, is passed over and joins no other.

    Several processes may write and read at once; `resume` is for the only one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *values: Any) -> None:
        """Add a line for each value, in one write."""
        text = "".join(json.dumps(value) + "\n" for value in values)
        with self.path.open("a+b") as file:
            file.seek(-1 if file.tell() else 0, os.SEEK_END)
            apart = b"" if file.read() in (b"", b"\n") else b"\n"
            file.write(apart + text.encode())

    def read(self) -> list[Any]:
        """The values of all whole lines; none where there is no file."""
        found = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def resume(self) -> list[Any]:
        """The same, after half a line at the end was struck out."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
        return self.read()
