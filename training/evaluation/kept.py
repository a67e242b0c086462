"""What is measured already, one JSON object a line: a killed suite goes on after its last whole line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portrait.training.whole_lines import whole_lines

Measured = dict[str, Any]


class Kept:
    """Measurements by a key; those of other data, or of another question, have another stamp and do not count."""

    def __init__(self, path: Path, stamp: str) -> None:
        self._path, self._stamp = path, stamp
        path.parent.mkdir(parents=True, exist_ok=True)
        found = [one for one in whole_lines(path) if one["stamp"] == stamp]
        self._known: dict[str, Measured] = {one["key"]: one["measured"] for one in found}
        self.made = 0  # measurements of this run

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def once(self, key: str, measure: Callable[[], Measured]) -> Measured:
        """What was measured under a key, or what `measure` finds now."""
        if key not in self._known:
            measured = json.loads(json.dumps(measure()))
            with self._path.open("a") as file:
                file.write(json.dumps({"stamp": self._stamp, "key": key, "measured": measured}) + "\n")
            self._known[key] = measured
            self.made += 1
        return self._known[key]
