"""Commands about API keys and the audit: keys, audit, and their tables."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from portrait.infra.cli.options import Json, parse_time
from portrait.infra.cli.output import claim_stdout, console, notices, plain, print_json, say
from portrait.infra.tables.layout import moment, short_text, table_of
from portrait.registry.errors import InvalidInput

if TYPE_CHECKING:  # SQLAlchemy is not needed for `--help`
    from portrait.registry.access.audit import AuditEvent
    from portrait.registry.records.records import ApiKey


def keys_table(keys: "Iterable[ApiKey]") -> Table:
    """API keys and their grants."""
    table = table_of("API keys", "id", "name", "may", "made", "by", "revoked")
    for key in keys:
        may = "\n".join(map(str, key.grants))
        table.add_row(key.id, key.name, may, moment(key.created_at), key.created_by, moment(key.revoked_at))
    return table


def audit_table(events: "Iterable[AuditEvent]") -> Table:
    """Changes and refused attempts, in the order given."""
    from portrait.registry.access.audit import AuditOutcome

    table = table_of("Audit", "when", "who", "what", "on", "outcome", "detail")
    for event in events:
        detail = "  ".join(
            f"{name} {short_text(value)}" for name, value in event.detail.items() if value not in ("", None)
        )
        outcome = Text(event.outcome, style="red" if event.outcome == AuditOutcome.REFUSED else "")
        table.add_row(moment(event.at), event.actor, event.action, event.subject, outcome, detail)
    return table


keys_app = typer.Typer(help="API keys of the HTTP interface.", no_args_is_help=True)
Consumers = Annotated[list[str] | None, typer.Option(metavar="CONSUMER", help="A consumer, or * for any; repeat.")]


def register(app: typer.Typer) -> None:
    app.add_typer(keys_app, name="keys")
    app.command()(audit)


@keys_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who will use the key; the audit shows this name.")],
    read: Consumers = None,
    promote: Consumers = None,
    write_events: Annotated[bool, typer.Option("--write-events", help="May send events.")] = False,
    administer: Annotated[bool, typer.Option("--administer", help="May do everything.")] = False,
    as_json: Json = False,
) -> None:
    """Make a key that may read or promote consumers, send events, or administer; it is shown only once."""
    from portrait.infra.portrait import Portrait
    from portrait.registry.records.grants import Grant, Scope

    grants = [Grant(Scope.READ, consumer) for consumer in read or []]
    grants += [Grant(Scope.PROMOTE, consumer) for consumer in promote or []]
    grants += [Grant(Scope.EVENTS)] * write_events + [Grant(Scope.ADMINISTER)] * administer
    with Portrait.open() as portrait:
        key, text = portrait.registry.keys.add(name, grants)
    if as_json:
        print_json({"id": key.id, "name": key.name, "grants": [str(grant) for grant in key.grants], "key": text})
        return
    notices().print(f"key {key.id} of {key.name}; it is shown only this once and stored nowhere:")
    say(text)


@keys_app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List API keys and their grants, the revoked ones too."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        keys = portrait.registry.keys.list()
    if as_json:
        print_json([{**plain(key), "sha256": None, "grants": [str(grant) for grant in key.grants]} for key in keys])
    else:
        console().print(keys_table(keys))


@keys_app.command("revoke")
def revoke(id: Annotated[str, typer.Argument(help="Id of the key, from `portrait keys list`.")]) -> None:
    """Revoke a key for good; every gateway follows within a second."""
    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        key = portrait.registry.keys.revoke(id)
    say(f"key {key.id} of {key.name} is revoked")


def audit(
    since: Annotated[str | None, typer.Option("--since", help="Only events from this time on (UTC).")] = None,
    last: Annotated[int | None, typer.Option("--last", min=1, help="Only this number of newest events.")] = None,
    as_json: Json = False,
) -> None:
    """List every change and every refused attempt, oldest first; --json prints one event a line."""
    if since and last:
        raise InvalidInput("--since with --last: give one of them")
    import orjson

    from portrait.infra.portrait import Portrait

    with Portrait.open() as portrait:
        log = portrait.registry.audit
        events = log.newest(last) if last else log.list(parse_time(since, "--since"))
    if as_json:
        out = claim_stdout()
        out.writelines(orjson.dumps(plain(event)).decode() + "\n" for event in events)
        out.flush()
    else:
        console().print(audit_table(events))
