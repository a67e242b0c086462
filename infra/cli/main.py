"""The `portrait` command line. Nothing heavy is imported before a command runs, so `--help` answers at once."""

import sys

import typer

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
from portrait.infra.cli.output import notices
from portrait.registry.errors import GateRefused, InvalidInput, PortraitError

app = typer.Typer(
    name="portrait",
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


def main() -> None:
    """Run a command; errors meant for people are one line on standard error (2: bad input, 1: anything else)."""
    try:
        app()
    except PortraitError as error:
        if isinstance(error, GateRefused):
            from portrait.infra.tables.consumers import gates_table

            notices().print(gates_table("What the gates say", error.verdicts))
        print(f"portrait: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)


if __name__ == "__main__":
    main()
