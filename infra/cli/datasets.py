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
    app.command()(dataset)


def dataset(
    consumer: Consumer,
    labels: Annotated[Path, typer.Option(help="Labels, Parquet or CSV: user_id, maybe event_time, label columns.")],
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write: the labels, as_of and vector.")],
    version: OfVersion = None,
    grid: Annotated[
        str, typer.Option(help="Grid to which label times are rounded down: 1d, 1h, or 0 for exact times.")
    ] = "1d",
    after_training: Annotated[
        bool, typer.Option("--after-training", help="Leave out labels from before the version's training time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a pinned training set: each label with the vector that the version would have served just before it.

    Bad rows go to a file in rejects/ with their number and reason. A killed run leaves no incomplete file.
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
