"""Layout of tables for the terminal, and short texts for times, sizes and numbers."""

import json
from datetime import datetime
from typing import Any

from rich.table import Table


def table_of(title: str, *columns: str) -> Table:
    """An empty table whose long cells fold instead of being cut off."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def day(time: datetime | None) -> str:
    """A date; a dash for none."""
    return "-" if time is None else f"{time:%Y-%m-%d}"


def moment(time: datetime | None) -> str:
    """A time to the second; a dash for none."""
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def seconds(time: float | None) -> str:
    """A duration in milliseconds or seconds; a dash for none."""
    if time is None:
        return "-"
    return f"{time * 1000:.0f} ms" if time < 1 else f"{time:.1f} s"


def size(count: float) -> str:
    """A number of bytes in a suitable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(value: float | None) -> str:
    """A number with four digits; a dash for none."""
    return "-" if value is None else f"{value:.4g}"


def short_text(value: Any) -> str:
    """Any value as a short text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
