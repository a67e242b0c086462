"""The command that measures representations on tasks and runs the comparisons of the papers, and its tables."""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from portrait.infra.cli.options import AsOf, Json, parse_time
from portrait.infra.cli.output import console, print_json, progress_bar, say
from portrait.infra.tables.layout import day
from portrait.registry.errors import InvalidInput

if TYPE_CHECKING:  # torch is not needed to draw a table
    from portrait.training.evaluation.suites.cost.numbers import Cost
    from portrait.training.evaluation.tasks.evaluate import TaskEvaluation


def task_table(found: "TaskEvaluation") -> Table:
    """Methods and their metrics with intervals, the version first; and the version's lead over each, user by user."""
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


def cost_tables(cost: "Cost") -> Iterator[Table]:
    """Tables of the total costs of both sides, of the consumers' metrics, and of the dimensions."""
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


class Suite(StrEnum):
    """Comparisons from the papers."""

    CLUE = "clue"
    COST = "cost"
    GUR = "gur"


TASK, CLUE, COST = "--task", f"--suite {Suite.CLUE}", f"--suite {Suite.COST}"
READ_BY = {
    "--baselines": [TASK],
    "--beside": [TASK],
    "--set": [CLUE, COST],
    "--dimensions": [COST],
    **{option: [CLUE] for option in ("--target", "--seeds", "--clock", "--unseen", "--name", "--as-of")},
}
"""The modes that read each option; options that all modes read are left out."""


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    context: typer.Context,
    version: Annotated[str | None, typer.Argument(help="Embedding version; without one, baselines alone.")] = None,
    task: Annotated[
        str | None, typer.Option(help="A built-in task by name, or a TOML file; see docs/transfer.md.")
    ] = None,
    baselines: Annotated[
        str, typer.Option(help="Baselines to measure beside it: all, none, or names, comma-separated.")
    ] = "all",
    beside: Annotated[
        list[str] | None, typer.Option(help="Another version to measure on the same data; repeat.")
    ] = None,
    suite: Annotated[Suite | None, typer.Option(help="Comparison from the papers to run, instead of a task.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Suite clue: service whose items are ranked; repeat.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Suite clue: trainings of each kind.")] = 3,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Suites clue and cost: override a config field of their models, epochs=5; repeat."),
    ] = None,
    clock: Annotated[
        bool, typer.Option(help="Suite clue: whether the times of different services can be compared.")
    ] = True,
    unseen: Annotated[
        bool,
        typer.Option(help="Suite clue: for each target, also train and measure encoders without its service."),
    ] = False,
    name: Annotated[
        str, typer.Option(help="Suite clue: folder under studies/ in the home; the same name resumes it.")
    ] = "services",
    dimensions: Annotated[
        str, typer.Option(help="Suite cost: dimensions of the models to train, comma-separated.")
    ] = "32,64,120,256",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Measure a version on a task beside baselines, or run a comparison from the papers.

    A killed run is resumed by the same command.
    """
    if (task is None) == (suite is None):
        raise InvalidInput("give --task NAME_OR_FILE, --suite clue with --target SERVICE, --suite cost or --suite gur")
    _require_read(context, TASK if suite is None else f"--suite {suite}")
    if task is not None:
        _task(version, beside or [], task, baselines, as_json)
        return
    if suite is Suite.GUR:
        _gur(version, as_json)
        return
    if suite is Suite.COST:
        _cost(version, dimensions, overrides or [], as_json)
        return
    if version is not None:
        raise InvalidInput(f"--suite trains its own models: leave {version} out")
    if not target:
        raise InvalidInput("--suite clue needs --target SERVICE")
    _suite(target, seeds, overrides or [], clock, unseen, name, as_of, as_json)


def _require_read(context: typer.Context, mode: str) -> None:
    """Raise InvalidInput for a given option that the mode does not read."""
    for parameter in context.command.params:
        source, modes = context.get_parameter_source(parameter.name or ""), READ_BY.get(parameter.opts[0], [mode])
        if mode not in modes and source is not None and source.name == "COMMANDLINE":
            option = "/".join((*parameter.opts, *parameter.secondary_opts))
            raise InvalidInput(f"{mode} does not read {option}: leave it out, it is for {' and '.join(modes)}")


def _task(version: str | None, beside: list[str], task: str, baselines: str, as_json: bool) -> None:
    from portrait.infra.jobs.versions import evaluate_task
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait, progress_bar() as progress:
        found = evaluate_task(portrait, version, task, baselines, progress, beside)
    if as_json:
        print_json(found.numbers())
        return
    console().print(task_table(found))
    say(f"lines: {found.folder / 'lines.jsonl'}")


def _gur(version: str | None, as_json: bool) -> None:
    from rich.markdown import Markdown

    from portrait.infra.jobs.versions import compare_gur
    from portrait.infra.portrait import Portrait
    from portrait.training.evaluation.suites.gur.report import plain_numbers

    if version is None:
        raise InvalidInput("--suite gur needs a version, whose recipe it trains: portrait evaluate VERSION --suite gur")
    with Portrait.open() as portrait, progress_bar() as progress:
        tables, report = compare_gur(portrait, version, progress)
    if as_json:
        print_json(plain_numbers(tables))
        return
    console().print(Markdown(report.read_text()))
    say(f"report: {report}")


def _cost(version: str | None, dimensions: str, overrides: list[str], as_json: bool) -> None:
    from portrait.infra.jobs.cost import compare_cost
    from portrait.infra.portrait import Portrait
    from portrait.training.evaluation.suites.cost.report import plain_numbers, summary

    with Portrait.open() as portrait, progress_bar() as progress:
        cost, report = compare_cost(portrait, version, dimensions, overrides, progress)
    if as_json:
        print_json(plain_numbers(cost))
        return
    for table in cost_tables(cost):
        console().print(table)
    say(summary(cost), f"report: {report}")


def _suite(
    target: list[str],
    seeds: int,
    overrides: list[str],
    clock: bool,
    unseen: bool,
    name: str,
    as_of: str | None,
    as_json: bool,
) -> None:
    from rich.markdown import Markdown

    from portrait.infra.jobs.versions import compare_services
    from portrait.infra.portrait import Portrait
    from portrait.training.evaluation.suites.clue.report import plain_numbers

    with Portrait.open() as portrait, progress_bar() as progress:
        lines, report = compare_services(
            portrait, target, range(seeds), overrides, clock, unseen, name, parse_time(as_of), progress
        )
    if as_json:
        print_json(plain_numbers(lines))
        return
    console().print(Markdown(report.read_text()))
    say(f"report: {report}")
