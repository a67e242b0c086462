"""What was measured, a line a metric, and how lines outlive a killed run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Line:
    """One metric of one method, with its 95% interval over users."""

    method: str
    fingerprint: str | None  # of a version; None for a baseline
    metric: str
    value: float
    low: float
    high: float
    rows: int  # that were asked for
    seconds: float


class LineLog:
    """The lines of a task on disk, a JSON list a method."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = [Line(**fields) for fields in _whole(path)]

    def of(self, method: str, fingerprint: str | None) -> list[Line]:
        """What was measured of a method, or of a version by its fingerprint."""
        return [line for line in self._lines if (line.method, line.fingerprint) == (method, fingerprint)]

    def add(self, lines: list[Line]) -> None:
        """All metrics of a method at once: half of them are never found."""
        with self._path.open("a") as file:
            file.write(json.dumps([asdict(line) for line in lines]) + "\n")
        self._lines += lines


def _whole(path: Path) -> list[dict[str, Any]]:
    """What was written to its end; a line that a killed process left unfinished is struck out."""
    if not path.exists():
        return []
    whole = [text for text in path.read_text().splitlines(keepends=True) if text.endswith("]\n")]
    scratch = path.with_suffix(".writing")
    scratch.write_text("".join(whole))
    scratch.replace(path)
    return [fields for text in whole for fields in json.loads(text)]
