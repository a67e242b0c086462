"""The demo's home: its own folder, made anew each time, and never somebody's data."""

import shutil
from pathlib import Path

from portrait.registry.errors import InvalidInput

MARKER = "made-by-portrait-demo"


def fresh_home(path: Path) -> Path:
    """An empty home with the demo's marker in it; what an earlier demo left there is removed.

    Raises InvalidInput for a file, and for a folder that holds anything and does not carry the marker.
    """
    if path.exists() and not path.is_dir():
        raise InvalidInput(f"{path} is no folder: choose one with --home")
    if path.exists() and any(path.iterdir()):
        if not (path / MARKER).is_file():
            raise InvalidInput(
                f"{path} is not empty and no demo made it: choose another folder with --home, or empty it yourself"
            )
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / MARKER).touch()
    return path
