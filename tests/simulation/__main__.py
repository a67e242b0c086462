"""`python -m tests.simulation`: many schedules of the protocol core, or planted bugs until they are caught."""

import time
from collections import Counter
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.bugs import BUGS
from tests.simulation.many import Caught, Tally, hunts, pieces
from tests.simulation.planting import planted
from tests.simulation.schedule import Outcome, run

SHOWN = 5
"""Failures that are told in full."""


def main(
    schedules: Annotated[int, typer.Option(min=1, help="How many.")] = 100_000,
    seed: Annotated[int | None, typer.Option(help="Of the first one; alone, it is told step by step.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    bugs: Annotated[bool, typer.Option("--bugs", help="Plant each bug until it is caught.")] = False,
    bug: Annotated[str, typer.Option(help="Run with this bug planted.")] = "",
) -> None:
    """Run the protocol core under a seeded scheduler, and compare what comes of it with a reference."""
    screen = Console()
    screen.width = max(screen.width, 120)
    if bugs:
        raise typer.Exit(_hunt(screen, workers))
    if seed is not None and (schedules == 1 or bug):
        raise typer.Exit(_replay(screen, seed, bug))
    raise typer.Exit(_run(screen, 1 if seed is None else seed, schedules, workers))


def _replay(screen: Console, seed: int, bug: str) -> int:
    chosen = next((one for one in BUGS if one.name == bug), None)
    if bug and chosen is None:
        screen.print(f"no bug is called {bug!r}")
        return 2
    with planted(chosen) if chosen else nullcontext():
        outcome = run(seed, lambda line: screen.print(line, markup=False, highlight=False))
    screen.print(outcome.problem or "all is as it should be", markup=False)
    return 0 if outcome.good else 1


def _run(screen: Console, first: int, schedules: int, workers: int) -> int:
    total, began = Tally(), time.monotonic()
    with _progress(screen) as bar:
        task = bar.add_task("schedules", total=schedules)
        for tally in pieces(first, schedules, workers):
            total.schedules += tally.schedules
            total.reached += tally.reached
            total.failed += tally.failed
            rate = total.schedules / (time.monotonic() - began)
            bar.update(task, completed=total.schedules, description=f"{rate:.0f} a second, {len(total.failed)} failed")
    screen.print(states_table(total.reached, total.schedules))
    took = time.monotonic() - began
    screen.print(f"{total.schedules:,} schedules from seed {first} in {took:.0f} s: {len(total.failed)} failed")
    for outcome in sorted(total.failed, key=lambda one: one.seed)[:SHOWN]:
        _tell(screen, outcome)
    return 1 if total.failed else 0


def _tell(screen: Console, outcome: Outcome) -> None:
    """A failed schedule step by step."""
    screen.rule(f"seed {outcome.seed}: {outcome.check}")
    run(outcome.seed, lambda line: screen.print(line, markup=False, highlight=False))
    screen.print(outcome.problem, markup=False)
    screen.print(f"again: python -m tests.simulation --schedules 1 --seed {outcome.seed}", markup=False)


def _hunt(screen: Console, workers: int) -> int:
    caught: list[Caught] = []
    with _progress(screen) as bar:
        task = bar.add_task("bugs", total=len(BUGS))
        for one in hunts(workers, list(range(len(BUGS)))):
            caught.append(one)
            bar.update(task, completed=len(caught))
    for line in bug_lines(caught):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0 if all(one.outcome for one in caught) else 1


def bug_lines(caught: list[Caught]) -> list[str]:
    """The table of docs/reliability.md."""
    lines = ["| bug | where | caught by | schedules | seed |", "|---|---|---|---|---|"]
    for one in sorted(caught, key=lambda one: one.bug):
        bug, outcome = BUGS[one.bug], one.outcome
        by, seed = (outcome.check, outcome.seed) if outcome else ("NOT CAUGHT", "")
        place = bug.place.partition(":")[2]
        lines.append(f"| {bug.name} | `{place}` | {by} | {one.schedules} | {seed} |")
    return lines


def states_table(reached: Counter[str], schedules: int) -> Table:
    """In how many schedules each state was reached."""
    table = Table("sometimes", "schedules", "share", title="states that were reached")
    for state, times in reached.most_common():
        table.add_row(state, f"{times:,}", f"{times / schedules:.1%}")
    return table


def _progress(screen: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=screen)


if __name__ == "__main__":
    typer.run(main)
