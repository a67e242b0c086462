"""Measurements and ratios for a terminal, and as JSON."""

from dataclasses import asdict
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.rounds import Grid, Measurement, Ratio, Section


def measurements_table(section: Section) -> Table:
    """Rates of a section, and the middle round's latencies and processor time of the server a request."""
    table = Table(title=section.name, title_justify="left", title_style="bold")
    table.add_column("what")
    for column in ("clients", "rate", "of rounds", "p50 ms", "p99 ms", "CPU us"):
        table.add_column(column, justify="right")
    for one in section.measurements:
        table.add_row(one.what, str(one.clients), f"{one.median:,.0f} {one.unit}", _range(one), *_details(one))
    return table


def ratios_table(section: Section) -> Table:
    """Ratios of a section, with the aims that there are."""
    table = Table(title=f"{section.name}: ratios", title_justify="left", title_style="bold")
    table.add_column("what")
    for column in ("ratio", "of rounds", "aim", ""):
        table.add_column(column, justify="right")
    for one in section.ratios:
        table.add_row(one.what, f"{one.value:.2f}", f"{one.low:.2f} .. {one.high:.2f}", *_aim(one))
    return table


def grid_table(grid: Grid) -> Table:
    """The table of the further figures of a section."""
    table = Table(title=grid.what, title_justify="left", title_style="bold")
    table.add_column("")
    for column in grid.columns:
        table.add_column(column, justify="right")
    for name, numbers in grid.rows:
        table.add_row(name, *(f"{number:,.3g}" if abs(number) < 10 else f"{number:,.0f}" for number in numbers))
    return table


def as_json(section: Section) -> dict[str, Any]:
    """A section as plain values."""
    return {
        "measurements": [{**asdict(one), "median": one.median} for one in section.measurements],
        "ratios": [asdict(one) for one in section.ratios],
        "grids": [asdict(one) for one in section.grids],
    }


def _range(one: Measurement) -> str:
    return f"{min(one.rounds):,.0f} .. {max(one.rounds):,.0f}"


def _details(one: Measurement) -> list[str]:
    milliseconds = [f"{median(values):.2f}" if values else "" for values in (one.p50_ms, one.p99_ms)]
    return [*milliseconds, f"{median(one.cpu_us):,.0f}" if one.cpu_us else ""]


def _aim(one: Ratio) -> tuple[str, str]:
    if one.aim is None:
        return "", ""
    return f"{one.aim:g}", "reached" if one.reached else "missed"
