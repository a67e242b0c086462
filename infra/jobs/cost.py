"""The suite `cost` on an instance: training measures, serving reads, one report."""

from collections.abc import Sequence
from pathlib import Path

from portrait.infra.portrait import Portrait
from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress
from portrait.serving.reads.measured_reader import MeasuredReader
from portrait.training.evaluation.suites.cost.numbers import Cost
from portrait.training.evaluation.suites.cost.report import write_report
from portrait.training.evaluation.suites.cost.stores import VectorStore
from portrait.training.evaluation.suites.cost.suite import CostPlan, run

NAME = "cost"


def compare_cost(
    portrait: Portrait,
    version: str | None,
    dimensions: str,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    requests: int = CostPlan.requests,
) -> tuple[Cost, Path]:
    """Compare five consumers on features of their own and on one shared vector: (the costs, path of the report)."""
    known = None if version is None else portrait.registry.versions.get(version)
    folder = portrait.settings.home / "studies" / NAME
    plan = CostPlan(known, parse_dimensions(dimensions), tuple(overrides), requests)
    cost = run(portrait.repo, plan, portrait.settings, folder, _reader_over, progress)
    return cost, write_report(cost, folder)


def parse_dimensions(text: str) -> tuple[int, ...]:
    """The positive whole numbers of a comma-separated list, without repetitions; raises InvalidInput."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InvalidInput(f"--dimensions {text}: write whole numbers from 1 on, comma-separated, such as 32,64,120")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _reader_over(store: VectorStore) -> MeasuredReader:
    return MeasuredReader(store.instance, store.version, store.consumers)
