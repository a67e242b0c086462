"""Commands about the life of embedding versions: versions, diff, fail, retire, export."""

from pathlib import Path
from typing import Annotated

import typer

from portrait.infra.cli.options import AsOf, Json, Reason, Version, parse_time
from portrait.infra.cli.output import console, print_json, progress_bar, say


def register(app: typer.Typer) -> None:
    for command in (versions, diff, fail, retire, export):
        app.command()(command)


def versions(
    version: Annotated[str | None, typer.Argument(help="Show only this version, with its whole lineage.")] = None,
    as_json: Json = False,
) -> None:
    """List embedding versions, newest last, with state, fingerprint, lineage and metrics."""
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.versions import version_table, versions_table

    with Portrait.open() as portrait:
        if version is None:
            rows = portrait.registry.versions.list()
            print_json(rows) if as_json else console().print(versions_table(rows))
            return
        one = portrait.registry.versions.get(version)
        print_json(one) if as_json else console().print(version_table(one))


def diff(version: Version, other: Version, as_json: Json = False) -> None:
    """Compare two versions: coverage, metrics, neighbours, the rotation between their spaces, norms."""
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.versions import diff_table

    with Portrait.open() as portrait, progress_bar() as progress:
        report = portrait.operations.diff(version, other, progress)
    if as_json:
        print_json(report)
    else:
        console().print(diff_table(report))


def fail(
    version: Version, reason: Annotated[str, typer.Option("--reason", help="Why it is broken; kept for good.")]
) -> None:
    """Mark a version as broken for good, so that nothing is promoted to it; refused while a consumer reads it."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        portrait.registry.versions.fail(version, reason)
    say(f"{version} is failed; its vectors stay until `portrait retire {version}`")


def retire(version: Version, reason: Reason = "", as_json: Json = False) -> None:
    """End a version's life and delete its vectors; refused while anything pins it. Run it again to resume."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait, progress_bar() as progress:
        retired = portrait.operations.retire(portrait.settings.actor, version, reason, progress)
    if as_json:
        print_json(retired)
    else:
        say(f"{retired.id} is {retired.state}: its vectors are gone, its artifact and its history stay")


def export(
    version: Version,
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write: user_id and vector.")],
    as_of: AsOf = None,
) -> None:
    """Write the vector of every user as of a time (default: the version's last backfill)."""
    from portrait.infra.portrait import Portrait
    from portrait.training.backfill.vectors_at_rest import export as run

    with Portrait.open() as portrait, progress_bar() as progress:
        known = portrait.registry.versions.get(version)
        made = run(portrait.repo, known, out.absolute(), parse_time(as_of), progress)
    say(f"{out}: {made.users:,} users at {version} as of {made.as_of:%Y-%m-%d %H:%M:%S}")
