"""Commands that read embeddings: get, serve."""

from typing import Annotated

import typer

from portrait.infra.cli.options import Json
from portrait.infra.cli.output import claim_stdout, console, notices


def register(app: typer.Typer) -> None:
    app.command()(get)
    app.command()(serve)


def get(
    consumer: Annotated[str, typer.Argument(help="Name of the consumer.")],
    users: Annotated[list[str], typer.Argument(help="User ids.")],
    strict: Annotated[bool, typer.Option("--strict", help="Fail for an unknown user, without the prior.")] = False,
    as_json: Json = False,
) -> None:
    """Print embeddings of users, as the gateway would answer them."""
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.data import embeddings_table

    out = claim_stdout()
    with Portrait.open() as portrait:
        answer = portrait.reader.read(consumer, users, strict)
    if as_json:
        from portrait.serving.reads.answers import as_json as answer_json

        out.write(answer_json(answer).decode() + "\n")
        out.flush()
    else:
        console().print(embeddings_table(answer))


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port (default 8000).")] = None,
) -> None:
    """Serve embeddings over HTTP with Ray Serve until interrupted."""
    from portrait.infra.settings import Settings
    from portrait.serving.http.access import require_safe
    from portrait.serving.running import run_forever
    from portrait.serving.state.first_state import first_state

    claim_stdout()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = Settings().model_copy(update=given)
    # Checked before Ray starts: the registry can be used, and the gateway is not open to strangers.
    state, warning = first_state(settings)
    remarks = [remark for remark in (warning, require_safe(settings, state.keys.values())) if remark]
    run_forever(
        settings,
        announce=lambda running: notices().print(
            *remarks, f"answering at {running.url} (docs at /docs)", sep="\n", soft_wrap=True
        ),
    )
