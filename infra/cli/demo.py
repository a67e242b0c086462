"""The command that walks the whole path with progress, and ends with tables and a picture."""

from pathlib import Path
from typing import Annotated

import typer

from portrait.infra.cli.output import console, notices, progress_bar


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    data: Annotated[
        tuple[str, Path] | None,
        typer.Option("--data", help="Real data instead of generated users.", metavar="DATA_SET PATH"),
    ] = None,
    users: Annotated[int, typer.Option(help="How many users to generate.", min=100)] = 3000,
    home: Annotated[
        Path | None, typer.Option(help="Folder of the demo (default .portrait-demo); an earlier demo in it is deleted.")
    ] = None,
) -> None:
    """Walk the whole path: ingest, train two versions, embed, promote, serve, roll back."""
    from portrait.infra.demo.report import show
    from portrait.infra.demo.walk import DataChoice, fresh_home, walk
    from portrait.registry.settings import PROJECT_ROOT

    out = console()
    place = fresh_home((home or PROJECT_ROOT / ".portrait-demo").expanduser().resolve())
    data_set, path = data or (None, None)
    choice = DataChoice(data_set, path, users)
    with progress_bar() as progress:
        outcome = walk(place, choice, lambda stage: notices().print(f"[bold]{stage}[/bold]"), progress)
    for part in show(outcome):
        out.print(part)
