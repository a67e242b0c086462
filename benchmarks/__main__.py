"""Ratios that Portrait promises, measured in one run: `python -m benchmarks`, or `make bench`."""

import os
import platform
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from benchmarks.rounds import Section
from benchmarks.table import as_json, measurements_table, ratios_table
from infra.cli.output import console, notices

if TYPE_CHECKING:
    from benchmarks.instance import Instance


class Name(StrEnum):
    """The benchmarks that there are."""

    READS = "reads"
    BACKFILL = "backfill"
    TRAINING = "training"
    PROMOTIONS = "promotions"


def main(
    only: Annotated[list[Name] | None, typer.Option(help="Run only this one; may be given again.")] = None,
    users: Annotated[int, typer.Option(min=200, help="Generated users.")] = 10_000,
    online: Annotated[str, typer.Option(help="An empty Redis database, redis://host:port/db; else SQLite.")] = "",
    versions: Annotated[int, typer.Option(min=1, help="Live versions in the store; the newest is read.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of one measurement of reads.")] = 2.0,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("bench.json"),
) -> None:
    """Measure reads, backfill, training and promotions beside what they replace, and print the ratios."""
    from benchmarks.instance import instance
    from infra.revision import code_revision

    screen, say = console(), notices().print
    document: dict[str, Any] = {
        "revision": code_revision(),
        "machine": _machine(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "users": users,
        "versions": versions,
        "online": "redis" if online else "sqlite",
        "load_average": {"before": os.getloadavg()},
        "sections": {},
    }
    say(f"preparing an instance of {users:,} users")
    with instance(users, online, versions) as measured:
        for name in only or list(Name):
            say(f"measuring {name}")
            section = _run(name, measured, rounds, seconds)
            document["sections"][name.value] = as_json(section)
            document["load_average"][name.value] = os.getloadavg()
            for table in (measurements_table(section), ratios_table(section)):
                screen.print(table)
    out.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    averages = ", ".join(f"{name} {values[0]:.1f}" for name, values in document["load_average"].items())
    screen.print(f"{os.cpu_count()} cores; load average, of one minute: {averages}. Figures: {out}")


def _run(name: Name, measured: "Instance", rounds: int, seconds: float) -> Section:
    # Imported one by one: `--only reads` needs no Ray Data, and `--help` nothing at all.
    if name is Name.READS:
        from benchmarks.reads import measure as measure_reads

        return measure_reads(measured, rounds, seconds)
    if name is Name.BACKFILL:
        from benchmarks.backfill import measure as measure_backfill

        return measure_backfill(measured, rounds)
    if name is Name.PROMOTIONS:
        from benchmarks.promotions import measure as measure_promotions

        return measure_promotions(measured, rounds)
    from benchmarks.training import measure as measure_training

    return measure_training(measured, rounds)


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


if __name__ == "__main__":
    typer.run(main)
