"""Commands that take data back: portrait forget, merge, event delete, event correct."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from portrait.infra.cli.options import Json
from portrait.infra.cli.output import console, print_json, progress_bar, say
from portrait.infra.tables.layout import moment, table_of

if TYPE_CHECKING:  # SQLAlchemy is not needed for `--help`
    from portrait.feature_repo.forgetting.tombstones import ForgettingReport


def forgetting_tables(report: "ForgettingReport", done: str = "forgotten") -> Iterator[Table]:
    """A table of the data that was found by place, and one of the data that is left."""
    gone = "found and deleted" if done == "forgotten" else "found; moved or deleted"
    found = table_of(f"{report.subject}, {done} {moment(report.finished_at)}", "place", gone)
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


User = Annotated[str, typer.Argument(help="Id of the user.")]
Event = Annotated[str, typer.Argument(help="The event_id, as the log has it.")]


def register(app: typer.Typer) -> None:
    app.command()(forget)
    app.command()(merge)
    event = typer.Typer(help="Delete or correct one event.", no_args_is_help=True)
    event.command()(delete)
    event.command()(correct)
    app.add_typer(event, name="event")


def forget(
    user: User,
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


def delete(
    user: User,
    event: Event,
    lift: Annotated[bool, typer.Option("--lift", help="Accept a deleted event again when it is sent.")] = False,
    as_json: Json = False,
) -> None:
    """Delete an event and refuse it from now on; run it again to finish an interrupted run."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        actor = portrait.settings.actor
        if lift:
            subject = portrait.operations.lift_event(actor, event)
        else:
            subject = portrait.operations.delete_event(actor, user, event)
    if as_json:
        print_json({"subject": subject, "lifted": lift})
    else:
        say(f"{subject} {'is accepted again when it is sent' if lift else 'is deleted'}")


def correct(
    user: User,
    event: Event,
    item: Annotated[str | None, typer.Option(help="The right item_id.")] = None,
    time: Annotated[str | None, typer.Option(help="The right event_time.")] = None,
    service: Annotated[str | None, typer.Option(help="The right service.")] = None,
    action: Annotated[str | None, typer.Option(help="The right action.")] = None,
    weight: Annotated[float | None, typer.Option(help="The right weight.")] = None,
    as_json: Json = False,
) -> None:
    """Change fields of an event, which keeps its id; run it again to finish an interrupted run."""
    from portrait.infra.portrait import Portrait

    given = {"item_id": item, "event_time": time, "service": service, "action": action, "weight": weight}
    changes = {field: value for field, value in given.items() if value is not None}
    with Portrait.open() as portrait:
        now = portrait.operations.correct_event(portrait.settings.actor, user, event, changes)
    if as_json:
        print_json(now)
    else:
        say("the event is now " + ", ".join(f"{field} {value}" for field, value in now.items()))


def merge(
    anonymous: Annotated[str, typer.Argument(help="The id that ends.")],
    known: Annotated[str, typer.Argument(help="The id that stays, and gets the events and the profile.")],
    as_json: Json = False,
) -> None:
    """Make all that is known of one user part of another; run it again to finish an interrupted run."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait, progress_bar() as progress:
        report = portrait.operations.merge(portrait.settings.actor, anonymous, known, progress)
    if as_json:
        print_json(report)
    else:
        console().print(*forgetting_tables(report, "merged"), sep="\n")
