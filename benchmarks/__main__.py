"""All benchmarks of speed in one run: `python -m benchmarks`, or `make bench`."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from benchmarks.rounds import Section
from benchmarks.table import as_json, grid_table, measurements_table, ratios_table
from portrait.infra.cli.output import console, notices

if TYPE_CHECKING:
    from benchmarks.instance import Instance


class Name(StrEnum):
    """The benchmarks that there are."""

    READS = "reads"
    BACKFILL = "backfill"
    TRAINING = "training"
    PROMOTIONS = "promotions"
    FRESHNESS = "freshness"
    SOAK = "soak"


LONG = (Name.FRESHNESS, Name.SOAK)
"""Only run when they are asked for: they take minutes, and want a larger instance than the others."""


@dataclass(frozen=True)
class Asked:
    """How to measure; each benchmark takes what concerns it."""

    rounds: int
    seconds: float | None
    rates: Sequence[float]
    batch: int
    singles: float


def main(
    only: Annotated[list[Name] | None, typer.Option(help="Run only this one; may be given again.")] = None,
    users: Annotated[int, typer.Option(min=200, help="Generated users.")] = 10_000,
    online: Annotated[str, typer.Option(help="An empty Redis database, redis://host:port/db; else SQLite.")] = "",
    registry: Annotated[str, typer.Option(help="A Postgres server, postgresql://...; else SQLite.")] = "",
    versions: Annotated[int, typer.Option(min=1, help="Live versions in the store; the newest is read.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 5,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="Length of a measurement (default: reads 2, each rate of freshness 60, soak 600)."),
    ] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Events a second of freshness; may be given again.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Events a request, in freshness and soak.")] = 10,
    singles: Annotated[float, typer.Option(min=0, max=1, help="Share of events in requests of their own.")] = 0.1,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("bench.json"),
) -> None:
    """Measure reads, backfill, training and promotions beside what they replace; freshness and soak when asked for."""
    from benchmarks.instance import instance
    from portrait.infra.jobs.versions import code_revision

    screen, say = console(), notices().print
    document: dict[str, Any] = {
        "revision": code_revision(),
        "machine": _machine(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "users": users,
        "versions": versions,
        "online": "redis" if online else "sqlite",
        "registry": "postgres" if registry else "sqlite",
        "load_average": {"before": os.getloadavg()},
        "sections": {},
    }
    say(f"preparing an instance of {users:,} users")
    asked = Asked(rounds, seconds, rate or (), batch, singles)
    with instance(users, online, registry, versions) as measured:
        for name in only or [name for name in Name if name not in LONG]:
            say(f"measuring {name}")
            section = _run(name, measured, asked)
            document["sections"][name.value] = as_json(section)
            document["load_average"][name.value] = os.getloadavg()
            for table in (measurements_table(section), *map(grid_table, section.grids), ratios_table(section)):
                screen.print(table)
    out.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    averages = ", ".join(f"{name} {values[0]:.1f}" for name, values in document["load_average"].items())
    screen.print(f"{os.cpu_count()} cores; load average, of one minute: {averages}. Figures: {out}")


def _run(name: Name, measured: "Instance", asked: Asked) -> Section:
    # Imported one by one: `--only reads` needs no Ray Data, and `--help` nothing at all.
    match name:
        case Name.READS:
            from benchmarks.reads import measure as measure_reads

            return measure_reads(measured, asked.rounds, asked.seconds or 2.0)
        case Name.BACKFILL:
            from benchmarks.backfill import measure as measure_backfill

            return measure_backfill(measured, asked.rounds)
        case Name.PROMOTIONS:
            from benchmarks.promotions import measure as measure_promotions

            return measure_promotions(measured, asked.rounds)
        case Name.FRESHNESS:
            from benchmarks import freshness

            rates = asked.rates or freshness.RATES
            return freshness.measure(measured, rates, asked.seconds or 60.0, asked.batch, asked.singles)
        case Name.SOAK:
            from benchmarks.soak import measure as measure_soak

            return measure_soak(measured, asked.seconds or 600.0, asked.batch, asked.singles)
        case Name.TRAINING:
            from benchmarks.training import measure as measure_training

            return measure_training(measured, asked.rounds)


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


if __name__ == "__main__":
    typer.run(main)
