"""`python -m tests.torture`: rounds of kills, a table for each, and exit status 1 when anything was lost or doubled."""

import random
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.conftest import POSTGRES_URL
from tests.torture.databases import Databases
from tests.torture.report import restarts_table, round_table, summary_table
from tests.torture.round import Outcome, Round, run
from tests.torture.template import Place, make

WIDTH = 120
"""Columns of the tables where the terminal has fewer, or there is none."""


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    events: Annotated[int, typer.Option(min=1, help="Events of a round.")] = 20_000,
    kills: Annotated[int, typer.Option(min=0, help="Moments of a round at which something happens.")] = 10,
    seed: Annotated[int | None, typer.Option(help="Of the first round; each next one has the next seed.")] = None,
    postgres: Annotated[str, typer.Option(help="Server for odd seeds' registries; empty: SQLite only.")] = POSTGRES_URL,
) -> None:
    """Kill gateway, shard, Redis and everything at random moments of a stream, freeze a shard, cut the network, fill
    the disk, empty and restore the store, and count what is left.
    """
    first = random.randrange(1_000_000) if seed is None else seed
    screen = Console()
    screen.width = max(screen.width, WIDTH)
    screen.print(f"{rounds} rounds of {events:,} events from seed {first}; the same again: --seed {first}")
    plans = [Round.from_seed(first + n, events, kills, postgres) for n in range(rounds)]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="torture-template-") as folder:
        templates: dict[str, Place] = {}
        try:
            for one in plans:
                if one.postgres not in templates:
                    name = "postgres" if one.postgres else "sqlite"
                    place = Place(Path(folder) / name, Databases.new(one.postgres) if one.postgres else None)
                    templates[one.postgres] = place
                    make(place)
                outcomes.append(run(one, templates[one.postgres]))
                screen.print(round_table(outcomes[-1]))
        finally:
            for place in templates.values():
                if place.databases is not None:
                    place.databases.drop()
    screen.print(summary_table(outcomes))
    screen.print(restarts_table(outcomes))
    raise typer.Exit(0 if all(outcome.good for outcome in outcomes) else 1)


if __name__ == "__main__":
    typer.run(main)
