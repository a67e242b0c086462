"""The pictures of a study, as PNG of 900 pixels' width."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from portrait.training.encoding.arrays import Float64
from portrait.training.scaling.effects import BatchEffect, Equal
from portrait.training.scaling.frontier import Point, points
from portrait.training.scaling.law import PowerLaw
from portrait.training.scaling.study import Study
from portrait.training.scaling.tables import flops

# Dark to light and blue to yellow: an order that is seen in grey and with every kind of colour vision.
COLOURS = ("#352A87", "#0072B2", "#1FA187", "#7AB648", "#E69F00")
MARKERS = "osD^vP"
MARK = "#D55E00"  # what stands out from the rest
LOSS = "held-out loss (InfoNCE, nats)"


def draw_law(study: Study, path: Path) -> None:
    """Loss over compute, both logarithmic: all runs, the frontier, the law with its band, held-out runs, forecasts."""
    figure, axes = _canvas()
    shown = [point for point in points(study.runs) if point.converged]
    _scatter(axes, shown, lambda point: (point.flops, point.loss))
    if study.law:
        _draw_fit(axes, study, study.law)
    if study.held_out:
        seen = [run for run in study.held_out if np.isfinite(run.loss)]
        place = [run.flops for run in seen], [run.loss for run in seen]
        axes.scatter(*place, marker="*", s=260, color=MARK, edgecolor="white", zorder=6, label="held out of the fit")
    axes.set(xscale="log", yscale="log", xlabel="compute of training (FLOPs)", ylabel=LOSS)
    _plain_losses(axes)
    axes.set_title("Loss over compute", loc="left", fontweight="bold")
    _legend(axes)
    _save(figure, path)


def draw_batches(effect: BatchEffect, path: Path) -> None:
    """Loss over batch, a line a size; the bars are the standard error of the mean over seeds."""
    figure, axes = _canvas()
    for place, size in enumerate(effect.sizes):
        cells = [cell for cell in effect.cells if cell.first.size == size]
        style = _style(place, len(effect.sizes))
        at = [cell.first.batch for cell in cells], [cell.loss for cell in cells]
        if effect.spread is not None:
            bars = [effect.spread / np.sqrt(len(cell.runs)) for cell in cells]
            axes.errorbar(*at, yerr=bars, fmt="none", ecolor=style["color"], capsize=3, linewidth=1)
        axes.plot(*at, linewidth=2, markersize=8, markeredgecolor="white", label=_size_label(cells[0]), **style)
    batches = sorted({cell.first.batch for cell in effect.cells})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="batch (users a step)", ylabel=LOSS)
    amount = f"{flops(effect.amount)} FLOPs" if effect.equal is Equal.COMPUTE else f"{effect.amount:,.0f} steps"
    axes.set_title(f"Batch and model size, {amount} each", loc="left", fontweight="bold")
    count = len(effect.sizes)
    columns = count if count <= 3 else (count + 1) // 2
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    _save(figure, path)


def draw_downstream(study: Study, path: Path) -> None:
    """Downstream score over pretext loss, a point a configuration."""
    figure, axes = _canvas()
    known = [point for point in points((*study.runs, *study.held_out)) if point.converged]
    scored = [point for point in known if point.downstream is not None]
    _scatter(axes, scored, lambda point: (point.loss, point.downstream or 0.0))
    axes.invert_xaxis()  # so that better is to the right and up
    axes.set(xlabel=f"{LOSS}, better to the right", ylabel="downstream score of a frozen head")
    title = "Loss and downstream score"
    if study.correlation:
        rho, interval = study.correlation.rho, study.correlation.interval
        title += f": Spearman {rho:.2f} ({interval.low:.2f} to {interval.high:.2f})"
    axes.set_title(title, loc="left", fontweight="bold")
    _legend(axes)
    _save(figure, path)


def _draw_fit(axes: Axes, study: Study, law: PowerLaw) -> None:
    ends = [law.least, law.most, *(run.flops for run in study.held_out), *(f.budget for f in study.forecasts)]
    fitted, whole = _between(law.least, law.most), _between(min(ends), max(ends))
    bands = [law.confidence(compute) for compute in whole]
    low, high = [band.low for band in bands], [band.high for band in bands]
    axes.fill_between(whole, low, high, color="#BBBBBB", alpha=0.5, linewidth=0, label="95% of resamplings", zorder=1)
    axes.plot(whole, [law.loss(compute) for compute in whole], color="black", linestyle=":", linewidth=1.5, zorder=3)
    name = f"law, exponent {law.exponent:.3f}"
    axes.plot(fitted, [law.loss(compute) for compute in fitted], color="black", linewidth=1.5, zorder=3, label=name)
    place = [point.flops for point in law.frontier], [point.loss for point in law.frontier]
    axes.scatter(*place, s=150, facecolor="none", edgecolor="black", linewidth=1.2, zorder=5, label="frontier")
    for number, forecast in enumerate(study.forecasts):
        bar = [[forecast.loss - forecast.interval.low], [forecast.interval.high - forecast.loss]]
        look: dict[str, Any] = {"fmt": "x", "color": MARK, "capsize": 4, "markersize": 9, "zorder": 6}
        axes.errorbar(
            [forecast.budget], [forecast.loss], yerr=bar, label=None if number else "forecast of a run", **look
        )


def _scatter(axes: Axes, shown: list[Point], at: Any) -> None:
    """One group of marks a size, in the order of the parameters."""
    sizes = sorted({(point.first.parameters, point.first.size) for point in shown})
    for place, (_, size) in enumerate(sizes):
        members = [point for point in shown if point.first.size == size]
        x, y = zip(*map(at, members), strict=True)
        style = _style(place, len(sizes))
        axes.scatter(x, y, s=50, edgecolor="white", linewidth=0.6, zorder=4, label=_size_label(members[0]), **style)


def _style(place: int, count: int) -> dict[str, Any]:
    last = len(COLOURS) - 1
    colour = COLOURS[round(place * last / max(1, count - 1))] if count <= len(COLOURS) else COLOURS[place % (last + 1)]
    return {"color": colour, "marker": MARKERS[place % len(MARKERS)]}


def _size_label(point: Point) -> str:
    count = point.first.parameters
    shown = f"{count / 1e6:.3g}M" if count >= 1e6 else f"{count / 1e3:.3g}k"
    return f"{point.first.size} ({shown} parameters)"


def _between(low: float, high: float) -> Float64:
    return np.geomspace(low, high, 60)


def _plain_losses(axes: Axes) -> None:
    """Losses span less than a decade: the powers of ten alone would leave the axis without a number."""
    axes.yaxis.set_major_locator(LogLocator(subs=_steps(*axes.get_ylim())))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _steps(low: float, high: float) -> list[float]:
    """The multiples of a power of ten to mark; the narrower the range, the more."""
    width = 0.1 if high < 1.3 * low else 0.2 if high < 2 * low else 0.5
    return [float(step) for step in np.arange(1, 10, width)]


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 5), layout="constrained")  # no pyplot: nothing global, no display
    axes = figure.subplots()
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None})
