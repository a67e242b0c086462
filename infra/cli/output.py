"""Output of commands: tables for people, or JSON on a standard output that nothing else writes to."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from portrait.registry.progress import Progress

PAGE = 140  # characters
_clean: TextIO | None = None


def claim_stdout() -> TextIO:
    """The real standard output; from now on the output of libraries such as Ray goes to standard error."""
    global _clean
    if _clean is None:
        sys.stdout.flush()
        _clean = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
    return _clean


def console() -> Console:
    """A console for tables on standard output; as wide as the terminal, or PAGE characters without one."""
    out = claim_stdout()
    return Console(file=out, highlight=False, width=None if out.isatty() else PAGE)


def say(*lines: str) -> None:
    """Print lines for people on standard output, without wrapping them."""
    console().print(*lines, sep="\n", soft_wrap=True, markup=False)


def notices() -> Console:
    """A console for progress and remarks on standard error."""
    return Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    import orjson

    out = claim_stdout()
    out.write(orjson.dumps(plain(value), option=orjson.OPT_INDENT_2).decode() + "\n")
    out.flush()


def plain(value: Any) -> Any:
    """The value with dataclasses, times, paths and enums as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, Path) else value


@contextmanager
def progress_bar() -> Iterator["Progress"]:
    """A `portrait.registry.progress.Progress` that draws a bar for each step on standard error while the block runs."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Bars(*columns, console=notices())
    tasks: dict[str, TaskID] = {}

    def show(step: str, done: int, total: int, note: str = "") -> None:
        if not tasks:
            bars.start()  # not earlier: even a display without bars leaves an empty line
        if step not in tasks or bars.tasks[tasks[step]].finished:
            for earlier in bars.tasks:  # earlier steps are over, even a training that stopped early
                bars.update(earlier.id, total=earlier.completed)
            tasks[step] = bars.add_task(step, total=total)
        bars.update(tasks[step], completed=done, total=total, description=f"{step} {note}".strip())

    try:
        yield show
    finally:
        if tasks:
            bars.stop()
