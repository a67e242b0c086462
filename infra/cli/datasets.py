"""The command that makes pinned training sets."""

from pathlib import Path
from typing import Annotated

import typer

from portrait.infra.cli.options import Consumer, Json
from portrait.infra.cli.output import console, print_json, progress_bar

OfVersion = Annotated[
    str | None, typer.Option("--version", help="Embedding version (default: the one that the consumer reads).")
]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(dataset)


def dataset(
    consumer: Consumer,
    labels: Annotated[Path, typer.Option(help="Labels, Parquet or CSV: user_id, event_time if any, label columns.")],
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write: the labels, as_of and vector.")],
    version: OfVersion = None,
    grid: Annotated[
        str, typer.Option(help="Label times are rounded down to it: 1d, 1h, or 0 for the times themselves.")
    ] = "1d",
    after_training: Annotated[
        bool, typer.Option("--after-training", help="Leave labels from before the version's training time out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give each label the vector that the version would have served just before it: a pinned training set.

    Bad rows go to a file in rejects/ with number and reason. Killed, it leaves nothing that a reader sees.
    """
    from portrait.infra.jobs.datasets import make_dataset
    from portrait.infra.portrait import Portrait
    from portrait.infra.tables.datasets import dataset_table

    with Portrait.open() as portrait, progress_bar() as progress:
        made = make_dataset(portrait, consumer, labels, out, version, grid, after_training, progress)
    if as_json:
        print_json(made)
    else:
        console().print(dataset_table(made))
