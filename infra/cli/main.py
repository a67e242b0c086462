"""The `portrait` command line. Nothing heavy is imported before a command runs, so `--help` answers at once."""

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from portrait.infra.cli import (
    consumers,
    data,
    datasets,
    demo,
    evaluate,
    forget,
    heads,
    keys,
    models,
    promotions,
    serve,
    study,
    versions,
)
from portrait.infra.cli.full_disk import say_full_disk
from portrait.infra.cli.output import notices
from portrait.registry.errors import GateRefused, InvalidInput, PortraitError

PANELS = {
    "Data": ("demo", "ingest", "import", "env", "apply", "snapshot"),
    "Train": ("train", "backfill", "versions", "dataset", "head"),
    "Measure": ("evaluate", "diff", "study"),
    "Promote": ("consumer", "consumers", "promote", "canary", "rollback", "history"),
    "Serve": ("serve", "get", "export", "status"),
    "Administer": ("keys", "audit", "fail", "retire", "publish", "column", "event", "merge", "forget"),
}
"""Panel of `portrait --help` -> its commands, both in the order in which a user needs them."""
_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}


class PanelGroup(TyperGroup):
    """The commands in the order of PANELS; Typer would list every group, such as `head`, after every command."""

    def __init__(self, **given: Any) -> None:
        """Put each command in its place; a command that PANELS does not have is a KeyError."""
        super().__init__(**given)
        places = list(_PANEL_OF)
        for name, command in self.commands.items():
            command.rich_help_panel = _PANEL_OF[name]  # type: ignore[attr-defined]
        self.commands = dict(sorted(self.commands.items(), key=lambda named: places.index(named[0])))


app = typer.Typer(
    name="portrait",
    cls=PanelGroup,
    help="One learned portrait of every user, shared by every model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (
    demo,
    data,
    models,
    evaluate,
    study,
    versions,
    consumers,
    promotions,
    datasets,
    heads,
    keys,
    forget,
    serve,
):
    group.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print("portrait", version("portrait"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def complete_environment() -> None:
    """Give libraries, and the processes that they start, the name and HOME that the user of a container may lack.

    Ray Train for instance cannot even be imported without a HOME. Nobody else writes to that of the instance.
    """
    try:
        Path.home()
    except RuntimeError:
        from portrait.infra.settings import Settings

        os.environ["HOME"] = str(Settings().home)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # which of them depends on the version of Python
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"


def main() -> None:
    """Run a command; errors meant for people are one line on standard error (2: bad input, 1: anything else)."""
    try:
        complete_environment()
        app()
    except Exception as error:
        if (full := say_full_disk(error)) is not None:
            print(f"portrait: {full}", file=sys.stderr)
            sys.exit(1)
        if not isinstance(error, PortraitError):
            raise
        if isinstance(error, GateRefused):
            from portrait.infra.tables.consumers import gates_table

            notices().print(gates_table("What the gates say", error.verdicts))
        print(f"portrait: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)


if __name__ == "__main__":
    main()
