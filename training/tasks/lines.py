"""What was measured, a line a metric, and how lines outlive a killed run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from training.whole_lines import whole_lines


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
        self._lines = [Line(**fields) for lines in whole_lines(path) for fields in lines]

    def of(self, method: str, fingerprint: str | None) -> list[Line]:
        """What was measured of a method, or of a version by its fingerprint."""
        return [line for line in self._lines if (line.method, line.fingerprint) == (method, fingerprint)]

    def add(self, lines: list[Line]) -> None:
        """All metrics of a method at once: half of them are never found."""
        with self._path.open("a") as file:
            file.write(json.dumps([asdict(line) for line in lines]) + "\n")
        self._lines += lines
