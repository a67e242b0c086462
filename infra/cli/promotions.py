"""Commands that move consumers between versions: promote, canary, rollback, history."""

from typing import TYPE_CHECKING, Annotated

import typer

from portrait.infra.cli.options import Consumer, Json, Reason, Version, parse_time
from portrait.infra.cli.output import console, notices, print_json, progress_bar, say

if TYPE_CHECKING:
    from portrait.infra.portrait import Portrait
    from portrait.registry.records.records import Promotion

Force = Annotated[
    bool,
    typer.Option("--force", help="Pass over gates that refuse (needs --reason); never over a broken artifact."),
]
Expected = Annotated[
    int | None,
    typer.Option("--expect", help="Refuse unless the consumer is at this revision; `portrait consumers` shows it."),
]

canary_app = typer.Typer(help="End a canary: make it the stable version, or abort it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(canary_app, name="canary")
    for command in (promote, rollback, history):
        app.command()(command)


def promote(
    consumer: Consumer,
    version: Version,
    canary: Annotated[
        float | None,
        typer.Option("--canary", help="Move only this share of the users, such as 0.05; repeat to change the share."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every gate's verdict; change nothing.")] = False,
    force: Force = False,
    reason: Reason = "",
    expect: Expected = None,
    as_json: Json = False,
) -> None:
    """Move a consumer, or a share of its users, to an embedding version; every gateway follows within a second."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        if dry_run:
            _dry_run(portrait, consumer, version, canary, as_json)
            return
        with progress_bar() as progress:
            promotion = portrait.operations.promote(
                portrait.settings.actor, consumer, version, reason, canary, force, expect, progress
            )
        _show(portrait, promotion, as_json)


@canary_app.command("finish")
def finish(
    consumer: Consumer, reason: Reason = "", force: Force = False, expect: Expected = None, as_json: Json = False
) -> None:
    """Make the canary the stable version of all users; the gates are asked again."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        with progress_bar() as progress:
            actor = portrait.settings.actor
            promotion = portrait.operations.finish_canary(actor, consumer, reason, force, expect, progress)
        _show(portrait, promotion, as_json)


@canary_app.command("abort")
def abort(consumer: Consumer, reason: Reason = "", expect: Expected = None, as_json: Json = False) -> None:
    """Abort the canary; all users are back on the stable version."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        promotion = portrait.registry.promotions.abort_canary(consumer, reason, expected_revision=expect)
        _show(portrait, promotion, as_json)


def rollback(
    consumer: Consumer, reason: Reason = "", force: Force = False, expect: Expected = None, as_json: Json = False
) -> None:
    """Put a consumer back on the version before its last promotion, if that still works; moves no data."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        with progress_bar() as progress:
            actor = portrait.settings.actor
            promotion = portrait.operations.rollback(actor, consumer, reason, force, expect, progress)
        _show(portrait, promotion, as_json)


def history(
    consumer: Consumer,
    at: Annotated[str | None, typer.Option("--at", help="Show what the consumer read at this time (UTC).")] = None,
    as_json: Json = False,
) -> None:
    """List the changes of a consumer's assignment: when, from which version to which, by whom and why."""
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.consumers import gates_table, history_table

    moment = parse_time(at, "--at")
    with Portrait.open() as portrait:
        rows = portrait.registry.promotions.history(consumer, moment)
    if as_json:
        print_json(rows)
        return
    console().print(history_table(consumer, rows))
    if moment is not None:
        say(f"at {moment:%Y-%m-%d %H:%M:%S} UTC {consumer} read {_reads(rows[-1]) if rows else 'nothing yet'}")
    elif rows and rows[-1].gates:
        console().print(gates_table(f"What the gates said to revision {rows[-1].revision}", rows[-1].gates))


def _dry_run(portrait: "Portrait", consumer: str, version: str, canary: float | None, as_json: bool) -> None:
    from portrait.infra.tables.consumers import gates_table

    with progress_bar() as progress:
        verdicts = portrait.operations.check(consumer, version, canary, progress)
    passes = all(verdict.accepted for verdict in verdicts)
    if as_json:
        print_json({"consumer": consumer, "version": version, "passes": passes, "gates": verdicts})
    else:
        console().print(gates_table(f"{consumer} -> {version}, nothing is changed", verdicts))
        say("every gate accepts" if passes else "the promotion would be refused")
    if not passes:
        raise typer.Exit(1)


def _show(portrait: "Portrait", promotion: "Promotion", as_json: bool) -> None:
    from portrait.infra.jobs.status import wait_for_gateways

    followed = wait_for_gateways(portrait.registry)
    if as_json:
        print_json(promotion)
        return
    before = promotion.from_version or "nothing"
    moved = before if before == promotion.to_version else f"{before} -> {promotion.to_version}"
    canary = f", canary {promotion.canary} for {promotion.canary_share:.4g} of the users" if promotion.canary else ""
    say(f"{promotion.consumer}: {moved}{canary} (revision {promotion.revision})")
    if promotion.forced:
        passed_over = [str(verdict) for verdict in promotion.gates if not verdict.accepted]
        say("forced over: " + "; ".join(passed_over))
    if followed:
        notices().print(followed)


def _reads(promotion: "Promotion") -> str:
    canary = f", and {promotion.canary} for {promotion.canary_share:.4g} of its users" if promotion.canary else ""
    return f"{promotion.to_version}{canary} (since {promotion.promoted_at:%Y-%m-%d %H:%M:%S} UTC, by {promotion.actor})"
