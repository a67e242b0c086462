"""Commands that measure representations on tasks."""

from enum import StrEnum
from typing import Annotated

import typer

from infra.cli.options import AsOf, Json, parse_time
from infra.cli.output import console, print_json, progress_bar, say


class Suite(StrEnum):
    """Comparisons of the papers."""

    CLUE = "clue"


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(evaluate)


def evaluate(
    suite: Annotated[Suite, typer.Option(help="Which comparison of the papers to run on this instance.")],
    target: Annotated[list[str], typer.Option(help="Service whose items are ranked; repeat.")],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a config field of clue: size=nano; repeat.")
    ] = None,
    clock: Annotated[
        bool, typer.Option(help="Whether the times of different services can be compared; --no-clock if not.")
    ] = True,
    unseen: Annotated[
        bool, typer.Option(help="Also measure encoders whose training saw nothing of the service: one more a target.")
    ] = False,
    name: Annotated[str, typer.Option(help="Folder under studies/ in the home; the same name goes on.")] = "services",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Compare pretext tasks and plain features on the instance's own data: frozen vectors, a light head, three seeds.

    Killed, the same command goes on with what is not measured yet.
    """
    from rich.markdown import Markdown

    from infra.pipeline import compare_services
    from infra.portrait import Portrait
    from training.evaluation.services_report import as_markdown

    with Portrait.open() as portrait, progress_bar() as progress:
        lines, folder = compare_services(
            portrait, target, range(seeds), overrides or [], clock, unseen, name, parse_time(as_of), progress
        )
    report = folder / "report.md"
    report.write_text(as_markdown(lines))
    if as_json:
        print_json([line.summary() for line in lines])
        return
    console().print(Markdown(report.read_text()))
    say(f"report: {report}")
