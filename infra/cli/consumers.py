"""Commands about consumers and what they read: consumers, promote, rollback, history, status."""

from typing import Annotated, Any

import typer

from infra.cli.options import Json, Reason, parse_time
from infra.cli.output import console, notices, print_json, say

Consumer = Annotated[str, typer.Argument(help="Name of the consumer.")]

consumer_app = typer.Typer(help="Declare consumers: downstream models that read embeddings.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("consumers")(list_consumers)
    app.add_typer(consumer_app, name="consumer")
    for command in (promote, rollback, history, status):
        app.command()(command)


def list_consumers(as_json: Json = False) -> None:
    """Consumers and the version that each reads now."""
    from infra.portrait import Portrait
    from infra.tables import consumers_table
    from registry.assignments import read_state

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
) -> None:
    """Declare a consumer."""
    from infra.portrait import Portrait

    with Portrait.open() as portrait:
        portrait.registry.consumers.add(name, owner or portrait.settings.actor, task)
    say(f"consumer {name} is declared; give it a version: portrait promote {name} VERSION")


@consumer_app.command("set")
def change(
    name: Consumer,
    owner: Annotated[str | None, typer.Option(help="Team or person who answers for it.")] = None,
    task: Annotated[str | None, typer.Option(help="What the downstream model does.")] = None,
) -> None:
    """Change a consumer's fields."""
    from infra.portrait import Portrait

    with Portrait.open() as portrait:
        portrait.registry.consumers.set(name, owner, task)
    say(f"consumer {name} is changed")


def promote(
    consumer: Consumer,
    version: Annotated[str, typer.Argument(help="Embedding version, such as autoencoder-2.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Move a consumer to an embedding version; every gateway follows within a second."""
    from infra.portrait import Portrait

    with Portrait.open() as portrait:
        promotion = portrait.registry.promotions.promote(consumer, version, reason)
        _project(portrait)
    _show_promotion(promotion, as_json)


def rollback(consumer: Consumer, reason: Reason = "", as_json: Json = False) -> None:
    """Put a consumer back on the version before its last promotion; moves no data."""
    from infra.portrait import Portrait

    with Portrait.open() as portrait:
        promotion = portrait.registry.promotions.rollback(consumer, reason)
        _project(portrait)
    _show_promotion(promotion, as_json)


def history(
    consumer: Consumer,
    at: Annotated[str | None, typer.Option("--at", help="Only what was in force at this time (UTC).")] = None,
    as_json: Json = False,
) -> None:
    """Who moved a consumer, when, from which version to which, and why."""
    from infra.portrait import Portrait
    from infra.tables import history_table

    with Portrait.open() as portrait:
        rows = portrait.registry.promotions.history(consumer, parse_time(at, "--at"))
    if as_json:
        print_json(rows)
    else:
        console().print(history_table(consumer, rows))


def status(as_json: Json = False) -> None:
    """The log, the live versions with their coverage and bytes, and who reads them."""
    from infra.portrait import Portrait
    from infra.status import read_status
    from infra.tables import status_tables

    with Portrait.open() as portrait:
        report = read_status(portrait)
    if as_json:
        print_json(report)
    else:
        for table in status_tables(report):
            console().print(table)


def _project(portrait: Any) -> None:
    """Let the Feast services of plain Feast clients follow the registry."""
    try:
        portrait.repo.apply()
    except (
        Exception
    ) as error:  # whatever Feast or its database raises: the registry has committed, and serving follows it
        notices().print(
            f"the change is in force, but plain Feast clients do not see it yet ({error}): run `portrait apply`"
        )


def _show_promotion(promotion: Any, as_json: bool) -> None:
    if as_json:
        print_json(promotion)
        return
    before = promotion.from_version or "nothing"
    say(f"{promotion.consumer}: {before} -> {promotion.to_version} (revision {promotion.revision})")


def _fields(record: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(record)
