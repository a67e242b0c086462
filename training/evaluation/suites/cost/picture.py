"""The suite's picture, as PNG: what the sides cost, and what dimensions cost and reach."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from portrait.training.evaluation.suites.cost.curated import NAME as CURATED
from portrait.training.evaluation.suites.cost.numbers import PAPER, Cost

OWN, SHARED, MARK = "#E69F00", "#0072B2", "#D55E00"
COLOURS = ("#352A87", "#0072B2", "#1FA187", "#7AB648", "#E69F00")


def draw_cost(cost: Cost, path: Path) -> None:
    """Two panels: relative cost of the shared vector, and metrics over dimension."""
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
