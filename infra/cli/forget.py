"""The command that forgets a user, and its tables."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from portrait.infra.cli.options import Json
from portrait.infra.cli.output import console, print_json, progress_bar, say
from portrait.infra.tables.layout import moment, table_of

if TYPE_CHECKING:  # SQLAlchemy is not needed for `--help`
    from portrait.feature_repo.forgetting.tombstones import ForgettingReport


def forgetting_tables(report: "ForgettingReport") -> Iterator[Table]:
    """A table of the data that was found by place, and one of the data that is left."""
    found = table_of(f"{report.subject}, forgotten {moment(report.finished_at)}", "place", "found and deleted")
    for place, count in report.found.items():
        found.add_row(place, f"{count:,}")
    yield found
    left = table_of("What is left", "", "")
    left.add_row(
        "versions trained with the user", "\n".join(f"{one.id} ({one.state})" for one in report.trained) or "-"
    )
    if report.under_way:
        left.add_row("work under way", f"{report.under_way} ingests, snapshots or backfills: gone when they end")
    if report.not_purged:
        left.add_row("not written anew", "\n".join(report.not_purged))
    left.add_row("out of reach", "\n".join(report.out_of_reach))
    yield left


def register(app: typer.Typer) -> None:
    app.command()(forget)


def forget(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    lift: Annotated[bool, typer.Option("--lift", help="Accept records of a forgotten user again.")] = False,
    as_json: Json = False,
) -> None:
    """Delete all data of a user and refuse later records; run it again to finish an interrupted run."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait, progress_bar() as progress:
        actor = portrait.settings.actor
        if lift:
            subject = portrait.operations.lift(actor, user)
        else:
            report = portrait.operations.forget(actor, user, progress)
    if lift:
        print_json({"subject": subject, "lifted": True}) if as_json else say(f"{subject} is no longer forgotten")
    elif as_json:
        print_json(report)
    else:
        console().print(*forgetting_tables(report), sep="\n")
