"""Commands about profile columns."""

from typing import Annotated

import typer

from portrait.infra.cli.options import Json
from portrait.infra.cli.output import print_json, progress_bar, say

column_app = typer.Typer(help="Profile columns.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(column_app, name="column")


@column_app.command("drop")
def drop(
    column: Annotated[str, typer.Argument(help="The column, as users.NAME.")],
    reason: Annotated[str, typer.Option(help="Kept in the audit.")] = "",
    as_json: Json = False,
) -> None:
    """Delete a profile column from log, snapshots and online store; refused while a version reads it.

    To give a column a narrower type, drop it and ingest a file that brings it again.
    """
    from portrait.feature_repo.store.column_drop import drop_column
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait, progress_bar() as progress:
        acting = portrait.registry.acting(portrait.settings.actor)
        dropped = drop_column(portrait.repo, acting, column, reason, progress)
    if as_json:
        print_json(dropped)
    else:
        say(f"{dropped.column} is gone from {dropped.segments} files of the log and {dropped.snapshots} snapshots")
