"""Durable small files: texts that are written whole or not at all, and JSON lines that outlive a killed writer."""

import json
from pathlib import Path
from typing import Any

from portrait.feature_repo.log.segments import sync


def write_whole(path: Path, text: str) -> None:
    """Replace the file's text in one step; a reader finds the old text or the new one."""
    scratch = path.with_suffix(".writing")
    scratch.write_text(text)
    sync(scratch)
    scratch.replace(path)


def whole_lines(path: Path) -> list[Any]:
    """The JSON values of the finished lines; an unfinished last line is deleted, or the next would join it."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if whole != lines:
        write_whole(path, "".join(whole))
    return [json.loads(line) for line in whole]
