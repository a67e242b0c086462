"""The command that forgets a user."""

from typing import Annotated

import typer

from portrait.infra.cli.options import Json
from portrait.infra.cli.output import console, print_json, progress_bar, say


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(forget)


def forget(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    lift: Annotated[bool, typer.Option("--lift", help="Accept what comes of a forgotten user from now on.")] = False,
    as_json: Json = False,
) -> None:
    """Delete everything about a user, and refuse what comes later; repeated, it goes on where it was cut short."""
    from portrait.infra.cli.forgetting import forgetting_tables
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
