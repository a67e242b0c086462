"""Small files that are there with all of their text or not at all, wherever a process is killed."""

import json
from pathlib import Path
from typing import Any

from portrait.feature_repo.log.durable_files import write_whole


def whole_lines(path: Path) -> list[Any]:
    """What was written to its end; an unfinished line is struck out, so that the next one is not joined to it."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if whole != lines:
        write_whole(path, "".join(whole))
    return [json.loads(line) for line in whole]
