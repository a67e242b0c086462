"""The command `portrait study scaling`, and its tables."""

import sys
from pathlib import Path
from shlex import join
from typing import Annotated

import typer

from portrait.infra.cli.options import Json
from portrait.infra.cli.output import console, notices, print_json, progress_bar, say

studies = typer.Typer(no_args_is_help=True, help="Train many small models to plan larger ones.")


def register(app: typer.Typer) -> None:
    app.add_typer(studies, name="study")


@studies.command()
def scaling(
    name: Annotated[str, typer.Option(help="Name of the study; the same name resumes it.")] = "scaling",
    sizes: Annotated[str | None, typer.Option(help="Named sizes of the model: pico,nano,micro.")] = None,
    users: Annotated[str | None, typer.Option(help="Numbers of training users: 2000,20000.")] = None,
    sequence_lengths: Annotated[
        str | None, typer.Option("--lengths", "--sequence-lengths", help="Newest events of each service: 32,64.")
    ] = None,
    batches: Annotated[str | None, typer.Option(help="Users in a step: 64,256.")] = None,
    steps: Annotated[str | None, typer.Option(help="Steps of a run: 200,2000.")] = None,
    budgets: Annotated[str | None, typer.Option(help="FLOPs of a run, instead of --steps: 1e11,1e12.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds: 0,1 trains every run twice (default: 0).")] = None,
    grid: Annotated[Path | None, typer.Option(help="TOML file with any of these; options override it.")] = None,
    budget: Annotated[
        list[str] | None, typer.Option(help="FLOPs of a later training, for which to forecast run and loss; repeat.")
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Run that checks the law and is not fitted; trained if it is missing; repeat."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a field of CLUE's config for all runs; repeat.")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time (default: as many as there is room for).")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Train in this process, without Ray.")] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing; report finished runs.")] = False,
    as_json: Json = False,
) -> None:
    """Train CLUE in many sizes, fit a law of loss over compute, and forecast larger trainings.

    Each run becomes a row in studies/NAME/runs.csv; a killed study, started again, trains only the missing runs.
    """
    from portrait.infra.portrait import Portrait
    from portrait.infra.settings import Settings
    from portrait.infra.tables.study import study_tables, warnings_of
    from portrait.training.scaling.grid import positive, read_grid
    from portrait.training.scaling.study_run import StudyRequest, study_scaling
    from portrait.training.scaling.tables import numbers

    given = {"sizes": sizes, "users": users, "sequence_lengths": sequence_lengths, "batches": batches}
    given |= {"steps": steps, "budgets": budgets, "seeds": seeds}
    wanted = StudyRequest(
        name=name,
        grid=read_grid(given, grid) if grid or any(given.values()) else None,
        hold_out=tuple(hold_out or ()),
        budgets=tuple(positive(text, "--budget") for text in budget or ()),
        overrides=tuple(overrides or ()),
        report_only=report_only,
        at_once=at_once,
        command=join(["portrait", *sys.argv[1:]]),
    )
    settings = Settings(num_workers=0) if local else Settings()
    with Portrait.open(settings) as portrait, progress_bar() as progress:
        outcome = study_scaling(portrait.repo, portrait.settings, wanted, progress)
    if as_json:
        trained = {"trained": outcome.trained, "finished_before": outcome.finished_before}
        failures = {"failures": outcome.failures, "report": outcome.report}
        print_json({**numbers(outcome.study), **trained, **failures})
    else:
        console().print(*study_tables(outcome), sep="\n")
        say(*warnings_of(outcome.study), f"report with pictures: {outcome.report}")
    if outcome.failures:
        for failure in outcome.failures:
            notices().print(f"run {failure.name} failed: {failure.reason}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
