"""What commands show of tasks."""

from typing import TYPE_CHECKING

from rich.table import Table

from portrait.infra.tables.layout import day

if TYPE_CHECKING:  # torch is not needed to draw a table
    from portrait.training.evaluation.tasks.evaluate import Evaluation


def task_table(found: "Evaluation") -> Table:
    """Methods and their metrics with intervals, the version first; how far it is ahead of each, user by user."""
    title = f"{found.task}, as of {day(found.as_of)}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("method")
    table.add_column("metric")
    version = next((line.method for line in found.lines if line.fingerprint is not None), None)
    others = any(line.method != version for line in found.lines)
    lead = [f"{version} ahead by"] if version is not None and others else []
    for column in ("value", "95% interval", *lead, "rows", "seconds"):
        table.add_column(column, justify="right")
    before = None
    for line in found.lines:
        first = line.method != before
        if first and before is not None:
            table.add_section()
        shown = (f"{line.rows:,}", f"{line.seconds:.1f}") if first else ("", "")
        name, before = line.method if first else "", line.method
        ahead = found.ahead(line)
        told = "" if ahead is None else f"{ahead.value:+.4f} ({ahead.low:+.4f} .. {ahead.high:+.4f})"
        values = (f"{line.value:.4f}", f"{line.low:.4f} .. {line.high:.4f}", *([told] if lead else []))
        table.add_row(name, line.metric, *values, *shown)
    return table
