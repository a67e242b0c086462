"""What the command shows of the suite `cost`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:  # torch is not needed to draw a table
    from portrait.training.evaluation.suites.cost.numbers import Cost


def cost_tables(cost: "Cost") -> Iterator[Table]:
    """Both sides in sum, the consumers' metrics, and the dimensions."""
    from portrait.training.evaluation.suites.cost.report import change_row, dimension_rows, metric_row

    title = f"five consumers, {cost.users:,} users, {cost.store}: features of their own, or {cost.shared}"
    yield _table(title, ("measure", "curated", "shared", "change", "paper's -50%"), map(change_row, cost.changes))
    names = [one.consumer for one in cost.reads]
    head = ("consumer", "metric", "curated", "shared", "")
    yield _table("metrics", head, (metric_row(cost, name) for name in names))
    yield _table("dimension", ("vector", "bytes a user", "training s", *names), dimension_rows(cost))


def _table(title: str, head: tuple[str, ...], rows: "Iterator[tuple[str, ...]] | list[tuple[str, ...]]") -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table
