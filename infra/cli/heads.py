"""Commands about heads: light downstream models trained on one version's vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrait.infra.cli.datasets import OfVersion
from portrait.infra.cli.options import Consumer, Json, Version, choices, parse_time
from portrait.infra.cli.output import console, plain, print_json, say
from portrait.registry.errors import InvalidInput
from portrait.training.heads.kinds import KINDS

head_app = typer.Typer(help="Heads: downstream models trained on the vectors of one version.", no_args_is_help=True)


if TYPE_CHECKING:
    KindName = str
else:
    KindName = choices("KindName", KINDS)


def register(app: typer.Typer) -> None:
    app.add_typer(head_app, name="head")


@head_app.command("register")
def add(
    consumer: Consumer,
    version: Version,
    fingerprint: Annotated[str, typer.Option(help="Fingerprint of the vectors it was trained on; answers carry it.")],
    task: Annotated[str, typer.Option(help="Task that it was measured on.")],
    data_stamp: Annotated[str, typer.Option(help="Name or digest of the data; metrics compare within one stamp.")],
    as_of: Annotated[str, typer.Option("--as-of", help="As-of time of the vectors it was measured on (UTC).")],
    metric: Annotated[list[str], typer.Option("--metric", help="Metric, such as auc=0.76; repeat.")],
    location: Annotated[str, typer.Option(help="Where the head is stored: a path or a URL.")],
    as_json: Json = False,
) -> None:
    """Register a head that was trained elsewhere, with its metrics, for the promotion gates."""
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
    data: Annotated[
        list[Path], typer.Option(help="Training set made by `portrait dataset`; repeat, all of one version.")
    ],
    label: Annotated[str, typer.Option(help="Column with the labels; also the task's name in the registry.")],
    kind: Annotated[KindName, typer.Option(help="Kind of model.")] = "logistic",
    name: Annotated[
        str, typer.Option(help="Folder under heads/CONSUMER/ in the home (default: a descriptive name).")
    ] = "",
    service: Annotated[str, typer.Option(help="Kind two-tower: service of the items that the labels name.")] = "",
    version: OfVersion = None,
    as_json: Json = False,
) -> None:
    """Train a head on a pinned training set, measure it on users that it has not seen, and register it."""
    from portrait.infra.jobs.datasets import train_and_register
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.datasets import trained_head_table

    with Portrait.open() as portrait:
        trained, record = train_and_register(portrait, consumer, tuple(data), label, kind, name, version, service)
    if as_json:
        counts = {"examples": trained.examples, "users": trained.users, "unlabelled": trained.unlabelled}
        counts |= {"forgotten": trained.forgotten}
        print_json({**plain(record), "kind": trained.head.kind, trained.measured: trained.interval, **counts})
    else:
        console().print(trained_head_table(trained, record))


@head_app.command("list")
def list_heads(consumer: Consumer, as_json: Json = False) -> None:
    """List the heads of a consumer, oldest first."""
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
