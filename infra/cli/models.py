"""Commands that make embedding versions: train, backfill."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from portrait.infra.cli.options import AsOf, Json, Version, choices, parse_time
from portrait.infra.cli.output import notices, print_json, progress_bar, say
from portrait.training.encoding.families import FAMILIES

if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = choices("FamilyName", FAMILIES)


def register(app: typer.Typer) -> None:
    for command in (train, backfill):
        app.command()(command)


def train(
    family: Annotated[FamilyName, typer.Argument(help="Family of representation models.")],
    as_of: AsOf = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Profile or team field to leave out; repeat.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a config field, such as epochs=5; repeat.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a representation model by Ray Train and register it as an embedding version."""
    from portrait.infra.jobs.versions import train_version
    from portrait.infra.portrait import Portrait

    moment = parse_time(as_of)
    with Portrait.open() as portrait, progress_bar() as progress:
        _tell_of_silence(moment, portrait.log.watermark())
        version = train_version(portrait, family, moment, exclude or [], overrides or [], progress)
    if as_json:
        print_json(version)
        return
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in version.metrics.items())
    space = f"{version.dimension} dimensions, fingerprint {version.fingerprint[:12]}"
    artifact = f"artifact with loss.png: {portrait.settings.home / version.artifact}"
    lines = (f"{version.id} is registered: {space}", metrics, artifact, f"next: portrait backfill {version.id}")
    say(*lines)


def _tell_of_silence(as_of: datetime | None, newest: datetime | None) -> None:
    """Say when a model is trained as of a time long after all events, which its backfills by themselves are not."""
    if as_of is not None and newest is not None and (days := (as_of - newest).days) > 0:
        notices().print(
            f"the newest event is {days:,} days older than --as-of: windows before it are emptier than those of "
            "`portrait backfill`, which takes the time just after the newest event unless it is given another"
        )


def backfill(
    version: Version,
    as_of: AsOf = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Embed only users whose windows have moved since their vector was computed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Embed all users at a version, offline and online; a killed backfill resumes where it stopped."""
    from portrait.infra.jobs.publish import publish
    from portrait.infra.portrait import Portrait
    from portrait.training.backfill.backfill import backfill as run

    with Portrait.open() as portrait, progress_bar() as progress:
        portrait.registry.versions.get(version)  # an unknown one is told before anything is done
        publish(portrait, progress=progress)
        report = run(portrait.repo, version, portrait.settings, parse_time(as_of), stale, progress)
    if as_json:
        print_json({**asdict(report), "users_per_second": report.users_per_second})
        return
    done = f"{report.embedded:,} of {report.users:,} users embedded, {report.written_online:,} newer online"
    rate = f"{report.seconds:.1f} s, {report.users_per_second:,.0f} users/s"
    say(f"{report.version} as of {report.as_of:%Y-%m-%d %H:%M:%S}: {done}, {rate}")
