"""Commands about data and Feast: ingest, import, snapshot, env, apply, publish, column drop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrait.feature_repo.ingest.adapters import ADAPTERS
from portrait.feature_repo.log.partition import BUCKETS
from portrait.infra.cli.options import AsOf, Json, choices, parse_time
from portrait.infra.cli.output import console, print_json, progress_bar, say

if TYPE_CHECKING:
    DataSetName = str
else:
    DataSetName = choices("DataSetName", ADAPTERS)


column_app = typer.Typer(help="Profile columns.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(column_app, name="column")
    app.command("import")(import_data)
    for command in (ingest, snapshot, env, apply, publish):
        app.command()(command)


def ingest(
    events: Annotated[Path | None, typer.Option(help="Events, Parquet or CSV.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items, Parquet or CSV.")] = None,
    users: Annotated[Path | None, typer.Option(help="Users, Parquet or CSV.")] = None,
    as_json: Json = False,
) -> None:
    """Ingest canonical tables into the event log, the catalogue and the profiles.

    Bad rows go to a file in rejects/ with a reason; ingesting the same file again changes nothing.
    """
    from portrait.feature_repo.ingest.ingest import open_files
    from portrait.infra.jobs.versions import take_in
    from portrait.infra.portrait import Portrait
    from portrait.infra.settings import Settings
    from portrait.infra.tables.data import ingest_table

    settings = Settings()
    open_files(Portrait(settings).log, events, items, users)  # before the home is made: an unusable file leaves none
    with Portrait.prepare(settings) as portrait, progress_bar() as progress:
        report = take_in(portrait, events, items, users, progress)
    if as_json:
        print_json(report.to_json())
    else:
        console().print(ingest_table(report))


def import_data(
    data_set: Annotated[DataSetName, typer.Argument(help="Name of the data set.")],
    path: Annotated[Path, typer.Argument(help="The data set's file or folder.")],
    as_json: Json = False,
) -> None:
    """Ingest a public data set through its adapter; its labels go to a file in the home's labels/ folder."""
    from portrait.infra.jobs.versions import import_data_set
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.data import ingest_table

    with Portrait.prepare() as portrait, progress_bar() as progress:
        report, labels = import_data_set(portrait, data_set, path, progress)
    if as_json:
        print_json({"report": report.to_json(), "labels": labels})
        return
    console().print(ingest_table(report))
    if labels:
        say(f"labels: {labels}")


def snapshot(as_of: AsOf = None, as_json: Json = False) -> None:
    """Cut a snapshot: history and profile of all users as of a time, which training and backfill read."""
    from portrait.feature_repo.history.snapshot_cut import cut_snapshot
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait, progress_bar() as progress:
        made = cut_snapshot(portrait.log, parse_time(as_of), progress)
    if as_json:
        print_json(made)
    else:
        before = f"{made.as_of:%Y-%m-%d %H:%M:%S}"
        say(f"snapshot {made.id}: {made.users:,} users, {made.events:,} events before {before}")


def env() -> None:
    """Print the variables that plain Feast needs: eval "$(portrait env)"."""
    from shlex import quote

    from portrait.feature_repo.declaration.environment import feast_environment
    from portrait.infra.settings import Settings

    lines = [f"export {name}={quote(value)}" for name, value in feast_environment(Settings()).items()]
    print("\n".join(lines))


def apply(as_json: Json = False) -> None:
    """Bring databases to the newest schema, and Feast to the registry's state; `feast plan` then shows no change."""
    from portrait.infra.portrait import Portrait

    with Portrait.prepare() as portrait, progress_bar() as progress:
        changes = portrait.repo.apply()
        published = portrait.repo.publish(progress)
    if as_json:
        print_json({"changes": changes, "published_users": published})
        return
    for change in changes or ["Feast already shows what the registry says"]:
        say(change)
    if published:
        say(f"raw features of {published:,} users are online")


def publish(
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Make the store this registry's: all of its rows but teams' own go first."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Put into the online store what it lacks: after it was emptied, restored from a backup, or exchanged.

    Histories, profiles and the vectors of all versions come from the log and the models. A running gateway with
    refresh shards does the same on its own.
    """
    from portrait.infra.jobs.publish import publish as put_online
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait, progress_bar() as progress:
        users, buckets = put_online(portrait, take_over, progress)
    if as_json:
        print_json({"published_users": users, "restored_buckets": buckets})
        return
    if buckets:
        say(f"{buckets} of {BUCKETS} buckets had lost rows: histories, profiles and vectors are back")
    say(f"raw features of {users:,} further users are online" if users else "the online store has all that it should")


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
