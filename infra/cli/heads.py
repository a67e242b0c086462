"""Commands about heads: light downstream models trained on one version's vectors."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from portrait.infra.cli.datasets import OfVersion
from portrait.infra.cli.options import Consumer, Json, Version, parse_time
from portrait.infra.cli.output import console, plain, print_json, say
from portrait.registry.errors import InvalidInput

head_app = typer.Typer(help="Heads: downstream models trained on the vectors of one version.", no_args_is_help=True)


class HeadKind(StrEnum):
    """Kinds of heads: three tell classes apart, the last ranks items."""

    LOGISTIC = "logistic"
    MLP = "mlp"
    BOOSTING = "boosting"
    TWO_TOWER = "two-tower"


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(head_app, name="head")


@head_app.command("register")
def add(
    consumer: Consumer,
    version: Version,
    fingerprint: Annotated[str, typer.Option(help="Of the vectors that it was trained on, as every answer carries.")],
    task: Annotated[str, typer.Option(help="What it was measured on.")],
    data_stamp: Annotated[str, typer.Option(help="Which data: a name or digest; metrics compare within one stamp.")],
    as_of: Annotated[str, typer.Option("--as-of", help="Time of the vectors that it was measured on (UTC).")],
    metric: Annotated[list[str], typer.Option("--metric", help="A metric, auc=0.76 for instance; repeat.")],
    location: Annotated[str, typer.Option(help="Where it lives: a path or a URL.")],
    as_json: Json = False,
) -> None:
    """Keep a head that was trained elsewhere, with what it scored; promotion gates read it."""
    from portrait.infra.portrait import Portrait
    from portrait.registry.consumers.heads import NewHead

    moment = parse_time(as_of)
    assert moment is not None
    new = NewHead(
        consumer=consumer,
        version=version,
        fingerprint=fingerprint,
        task=task,
        data_stamp=data_stamp,
        as_of=moment,
        metrics=dict(map(_metric, metric)),
        location=location,
    )
    with Portrait.open() as portrait:
        head = portrait.registry.heads.register(new)
    if as_json:
        print_json(head)
    else:
        say(f"head {head.id} of {head.consumer} on {head.version} is registered")


@head_app.command("train")
def train(
    consumer: Consumer,
    data: Annotated[list[Path], typer.Option(help="Training set of `portrait dataset`; repeat, all of one version.")],
    label: Annotated[str, typer.Option(help="Column of the labels; also the task's name in the registry.")],
    kind: Annotated[HeadKind, typer.Option(help="What kind of model.")] = HeadKind.LOGISTIC,
    name: Annotated[
        str, typer.Option(help="Folder under heads/CONSUMER/ in the home (default: says what it is).")
    ] = "",
    service: Annotated[str, typer.Option(help="Kind two-tower: service whose items the label names.")] = "",
    version: OfVersion = None,
    as_json: Json = False,
) -> None:
    """Train a head on a pinned training set, measure it on users whom it has not seen, keep it and register it."""
    from portrait.infra.jobs.datasets import train_and_register
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.datasets import trained_head_table

    with Portrait.open() as portrait:
        trained, record = train_and_register(portrait, consumer, tuple(data), label, kind.value, name, version, service)
    if as_json:
        counts = {"examples": trained.examples, "users": trained.users, "unlabelled": trained.unlabelled}
        print_json({**plain(record), "kind": trained.head.kind, trained.measured: trained.interval, **counts})
    else:
        console().print(trained_head_table(trained, record))


@head_app.command("list")
def list_heads(consumer: Consumer, as_json: Json = False) -> None:
    """The heads of a consumer, oldest first."""
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.consumers import heads_table

    with Portrait.open() as portrait:
        heads = portrait.registry.heads.list(consumer)
    if as_json:
        print_json(heads)
    else:
        console().print(heads_table(consumer, heads))


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise InvalidInput(f"--metric {text!r}: write name=value, auc=0.76 for instance") from None
