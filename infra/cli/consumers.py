"""Commands about consumers and the state of the whole: consumers, consumer, status."""

from typing import Annotated, Any

import typer

from portrait.infra.cli.options import Consumer, Json
from portrait.infra.cli.output import console, notices, plain, print_json, say

Gates = Annotated[
    list[str] | None,
    typer.Option("--gate", help="Gate setting, such as max_prior_share=0.2; `name=` puts the default back; repeat."),
]

MAX_AGE = "Seconds; an older vector is computed anew on read, or flagged as stale if that fails. 0: any age."

consumer_app = typer.Typer(help="Declare consumers: downstream models that read embeddings.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command("consumers")(list_consumers)
    app.add_typer(consumer_app, name="consumer")
    app.command()(status)


def list_consumers(as_json: Json = False) -> None:
    """List consumers and the version that each reads now."""
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.consumers import consumers_table
    from portrait.registry.serving_state.serving_state import read_state

    with Portrait.open() as portrait:
        consumers = portrait.registry.consumers.list()
        state = read_state(portrait.database)
    if as_json:
        print_json([{**_fields(one), "assignment": state.assignments.get(one.name)} for one in consumers])
    else:
        console().print(consumers_table(consumers, state.assignments))


@consumer_app.command("add")
def add(
    name: Consumer,
    owner: Annotated[str, typer.Option(help="Team or person who answers for it.")] = "",
    task: Annotated[str, typer.Option(help="What the downstream model does.")] = "",
    gates: Gates = None,
    wants_head: Annotated[
        bool, typer.Option("--wants-head", help="Promote only versions that have a head of this consumer.")
    ] = False,
    max_age: Annotated[float, typer.Option(help=MAX_AGE)] = 0.0,
) -> None:
    """Declare a consumer: a downstream model that reads embeddings."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        portrait.registry.consumers.add(name, owner or portrait.settings.actor, task, gates or [], wants_head, max_age)
    say(f"consumer {name} is declared; give it a version: portrait promote {name} VERSION")


@consumer_app.command("set")
def change(
    name: Consumer,
    owner: Annotated[str | None, typer.Option(help="Team or person who answers for it.")] = None,
    task: Annotated[str | None, typer.Option(help="What the downstream model does.")] = None,
    gates: Gates = None,
    wants_head: Annotated[
        bool | None,
        typer.Option("--wants-head/--no-wants-head", help="Promote only versions that have a head of this consumer."),
    ] = None,
    max_age: Annotated[float | None, typer.Option(help=MAX_AGE)] = None,
) -> None:
    """Change the given fields of a consumer; the others stay."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        portrait.registry.consumers.set(name, owner, task, gates or [], wants_head, max_age)
    say(f"consumer {name} is changed")


@consumer_app.command("show")
def show(name: Consumer, as_json: Json = False) -> None:
    """Show a consumer, its assignment and its gate settings."""
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.consumers import consumer_table

    with Portrait.open() as portrait:
        consumer = portrait.registry.consumers.get(name)
        assignment = portrait.registry.consumers.assignment(name)
    if as_json:
        print_json({**_fields(consumer), "assignment": assignment})
    else:
        console().print(consumer_table(consumer, assignment))


def status(as_json: Json = False) -> None:
    """Show the log, the versions with their coverage, size and pins, the gateways and the refresh."""
    from portrait.infra.jobs.status import read_status
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.data import status_tables

    with Portrait.open() as portrait:
        report = read_status(portrait)
    if as_json:
        print_json(report)
    else:
        for table in status_tables(report):
            console().print(table)
    for what in report.away:
        notices().print(f"away: {what}", soft_wrap=True, markup=False)


def _fields(record: Any) -> dict[str, Any]:
    fields: dict[str, Any] = plain(record)
    return fields
