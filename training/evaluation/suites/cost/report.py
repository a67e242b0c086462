"""The suite's page, its picture, and its numbers as JSON."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from portrait.training.evaluation.suites.cost.blocks import NAME as CURATED
from portrait.training.evaluation.suites.cost.numbers import (
    HEADS,
    PAPER,
    Cost,
    CostChange,
    CostVerdict,
    MetricComparison,
)

OWN, SHARED, MARK = "#E69F00", "#0072B2", "#D55E00"
COLOURS = ("#352A87", "#0072B2", "#1FA187", "#7AB648", "#E69F00")


def draw_cost(cost: Cost, path: Path) -> None:
    """Draw two panels: relative cost of the shared vector, and metrics over dimension."""
    figure = Figure(figsize=(11, 5), layout="constrained")  # no pyplot: nothing global, no display
    left, right = figure.subplots(1, 2)
    _changes(left, cost)
    _dimensions(right, cost)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _changes(axes: Axes, cost: Cost) -> None:
    changes = cost.changes[::-1]
    ratios = [one.relative + 1 for one in changes]
    places = np.arange(len(changes))
    axes.barh(places, ratios, color=[SHARED if ratio < 1 else OWN for ratio in ratios])
    axes.set_yticks(places, [f"{one.what} ({one.unit})" for one in changes], fontsize=8)
    for place, one in enumerate(changes):
        axes.text(one.relative + 1, place, f" {one.relative:+.0%}", va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(1 + PAPER, color=MARK, linestyle="--", linewidth=1.5, label=f"GUR: {PAPER:.0%}")
    axes.set(xscale="log", xlabel="shared vector over curated features, five consumers")
    axes.margins(x=0.15)
    axes.set_title("Relative cost", loc="left", fontweight="bold")
    axes.legend(frameon=False, fontsize=9)


def _dimensions(axes: Axes, cost: Cost) -> None:
    models = sorted(cost.models, key=lambda one: one.dimension)
    for reads, colour in zip(cost.reads, COLOURS, strict=False):
        name = reads.consumer
        scores = [cost.score(name, model.name) for model in models]
        at = [model.dimension for model in models], [score.value for score in scores]
        bars = [[score.value - score.low for score in scores], [score.high - score.value for score in scores]]
        axes.errorbar(*at, yerr=bars, marker="o", color=colour, capsize=3, label=f"{name}, {scores[0].metric}")
        axes.axhline(cost.score(name, CURATED).value, color=colour, linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    held = [f"{model.dimension}\n{cost.held(model.name).bytes_per_user:,.0f} B" for model in models]
    axes.set_xticks([model.dimension for model in models], held, fontsize=8)
    axes.set(xlabel="dimension, and bytes a user online", ylabel="metric with 95% interval; dotted: curated")
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_title("Dimension", loc="left", fontweight="bold")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


PAGE, PICTURE, NUMBERS = "report.md", "cost.png", "numbers.json"


def write_report(cost: Cost, folder: Path) -> Path:
    """Write page, picture and numbers into a folder; returns the page's path."""
    draw_cost(cost, folder / PICTURE)
    (folder / NUMBERS).write_text(json.dumps(plain_numbers(cost), indent=1) + "\n")
    page = folder / PAGE
    page.write_text("\n".join(_lines(cost)) + "\n")
    return page


def plain_numbers(cost: Cost) -> dict[str, Any]:
    """Everything measured, and what follows, as plain JSON values."""
    changes = [{**asdict(one), "relative": one.relative, "verdict": one.verdict.value} for one in cost.changes]
    metrics = {one.consumer: cost.metrics(one.consumer).value for one in cost.reads}
    derived = {"representation_seconds": cost.representation_seconds, "summary": summary(cost)}
    return {**asdict(cost), "changes": changes, "paper": PAPER, "metrics": metrics, **derived}


def format_figure(value: float) -> str:
    """The number as text with about three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def change_row(change: CostChange) -> tuple[str, str, str, str, str]:
    """Cells of a row: measure, both sides, the change, the verdict."""
    what = f"{change.what} ({change.unit})"
    return (
        what,
        format_figure(change.curated),
        format_figure(change.shared),
        f"{change.relative:+.0%}",
        change.verdict.value,
    )


def summary(cost: Cost) -> str:
    """The paper's claim beside ours, in a sentence or two."""
    changes, found = cost.changes, [cost.metrics(one.consumer) for one in cost.reads]
    holds = [one.what for one in changes if one.verdict is CostVerdict.HOLDS]
    rest = [f"{one.what} {one.relative:+.0%}" for one in changes if one.verdict is not CostVerdict.HOLDS]
    equal = ", ".join(f"{found.count(kind)} {kind.value}" for kind in MetricComparison if kind in found)
    but = f"; not of {'; '.join(rest)}" if rest else ""
    return (
        f"GUR reports {PAPER:.0%} infrastructure and feature cost at equal metrics. Here sign and rough size (half of "
        f"it or more) hold of {len(holds)} of {len(changes)} measures{but}. Metrics: {equal}."
    )


def _lines(cost: Cost) -> Iterable[str]:
    yield "# Cost: features of five teams, or one shared vector\n"
    yield f"{summary(cost)}\n"
    yield (
        f"{cost.users:,} users, snapshot {cost.data}, online store {cost.store}; the five read {cost.shared} "
        f"({cost.model.dimension} numbers)."
    )
    yield f"\n![What each side costs, and what it reaches]({PICTURE})\n"
    yield "## In sum\n"
    yield from _table(("measure", "curated", "shared", "change", "the paper's -50%"), map(change_row, cost.changes))
    yield f"\nOnline bytes: {cost.held_how}, grown by what was put there. {_once(cost)} {_inputs(cost)}\n"
    yield (
        "A batch computes everybody's numbers and puts them online: by Feast's `materialize` on both sides, or the "
        "vectors as a backfill does. Training counts features of training and test users and fitting the head, not "
        "reading the log, which is the same on both sides. Latencies are of "
        "one client on this machine, all kinds of reads by turns; an answer's bytes are those of the JSON that "
        "`feast serve` sends.\n"
    )
    yield (
        "Hand-made features are of events alone, the vector reads profiles and picks at sign-up too. Metrics are equal "
        "where the intervals of both sides meet.\n"
    )
    yield "## A consumer each\n"
    yield from _table(
        (
            "consumer",
            "metric",
            "curated",
            "shared",
            "",
            "features",
            "bytes a user",
            "training s",
            "p50 / p99 ms",
            "req/s",
        ),
        (row for one in cost.reads for row in _consumer_rows(cost, one.consumer)),
    )
    yield "\n## Dimension\n"
    names = [one.consumer for one in cost.reads]
    yield from _table(("vector", "bytes a user", "training s", *names), dimension_rows(cost))
    yield f"\nMetrics as above; of curated features: {', '.join(_own(cost, name) for name in names)}."


def dimension_rows(cost: Cost) -> list[tuple[str, ...]]:
    """Each model: bytes a user online, seconds of training, and the consumers' metrics."""
    return [
        (
            model.name,
            format_figure(cost.held(model.name).bytes_per_user),
            format_figure(model.train_seconds),
            *(_interval(cost, one.consumer, model.name) for one in cost.reads),
        )
        for model in cost.models
    ]


def metric_row(cost: Cost, consumer: str) -> tuple[str, str, str, str, str]:
    """Cells of a row: consumer, metric, both sides with their intervals, and how they compare."""
    own = _interval(cost, consumer, CURATED), _interval(cost, consumer, cost.shared)
    return consumer, cost.score(consumer, CURATED).metric, *own, cost.metrics(consumer).value


def _consumer_rows(cost: Cost, consumer: str) -> list[tuple[str, ...]]:
    own, vector = cost.score(consumer, CURATED), cost.score(consumer, cost.shared)
    reads = next(one for one in cost.reads if one.consumer == consumer)
    held = next(one for one in cost.curated if one.name == consumer)
    first = (consumer, own.metric, _interval(cost, consumer, CURATED), _interval(cost, consumer, cost.shared))
    sides = (
        ("curated", held.numbers, held.bytes_per_user, own, reads.curated),
        ("shared", cost.vector.numbers, cost.vector.bytes_per_user, vector, reads.shared),
    )
    rows: list[tuple[str, ...]] = []
    for place, (side, numbers, size, score, latency) in enumerate(sides):
        seconds = score.features_seconds + score.head_seconds
        measures = (
            str(numbers),
            format_figure(size),
            format_figure(seconds),
            f"{latency.p50_ms:.2f} / {latency.p99_ms:.2f}",
        )
        rows.append((*(first if place == 0 else ("", "", "", "")), side, *measures, f"{latency.per_second:,.0f}"))
    reader = reads.reader
    last = (f"{reader.p50_ms:.2f} / {reader.p99_ms:.2f}", f"{reader.per_second:,.0f}")
    rows.append(("", cost.metrics(consumer).value, "", "", "shared, by the reader", "", "", "", *last))
    return rows


def _once(cost: Cost) -> str:
    vector = cost.vector
    parts = f"{format_figure(cost.model.train_seconds)} s of training"
    filled = f"{format_figure(vector.compute_seconds + vector.write_seconds)} s to embed all users"
    return f"The vector is paid once for all: {parts} and {filled}; {_pays(cost)}. Its bytes are held once."


def _pays(cost: Cost) -> str:
    """Text: from how many consumers on their faster heads save the seconds of the representation."""
    [heads] = [one for one in cost.changes if one.what == HEADS]
    saved = (heads.curated - heads.shared) / len(cost.reads)
    if saved <= 0:
        return "in seconds of training that is never saved, as heads on it take no less"
    return f"in seconds of training that is saved from {math.ceil(cost.representation_seconds / saved)} consumers on"


def _inputs(cost: Cost) -> str:
    return (
        "Raw inputs are histories and profiles of all users, which lie online for near-real-time refresh; features "
        f"that were as fresh would want them too. They take {format_figure(cost.inputs.bytes_per_user)} bytes a user."
    )


def _own(cost: Cost, consumer: str) -> str:
    return f"{consumer} {_interval(cost, consumer, CURATED)}"


def _interval(cost: Cost, consumer: str, method: str) -> str:
    score = cost.score(consumer, method)
    return f"{score.value:.3f} ({score.low:.3f} .. {score.high:.3f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
