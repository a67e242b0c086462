"""Relative gains beside those of a paper, as text, as numbers and as a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

OURS, PAPER = "#0072B2", "#D55E00"
LINEAR = 20.0  # per cent: beyond it the axis is logarithmic, as an ablation can be worth ten times any baseline's gain


@dataclass(frozen=True)
class Gain:
    """Relative gain of one method over another with its 95% interval, and the paper's gain if it reports one.

    A gain over 0 has no value: it is not finite.
    """

    what: str
    value: float
    low: float
    high: float
    paper: float | None

    @property
    def size(self) -> str:
        """Whether it is between half and twice the paper's; empty where one of them is missing."""
        if self.paper is None or not math.isfinite(self.value):
            return ""
        return "holds" if 0.5 <= self.value / self.paper <= 2 else "does not hold"

    def numbers(self) -> dict[str, float | str | None]:
        """Plain values for a report's JSON, None for missing ones."""
        ours = {"gain": self.value, "gain_low": self.low, "gain_high": self.high}
        known = {name: value if math.isfinite(value) else None for name, value in ours.items()}
        return {**known, "paper_gain": self.paper, "size": self.size}

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "-"
        return f"{self.value:+.1%} ({self.low:+.1%} .. {self.high:+.1%})"


def draw_gains(gains: Sequence[Gain], path: Path) -> None:
    """Draw two bars a gain, ours with its interval and the paper's; a gain without a value gets no bar of ours."""
    figure = Figure(figsize=(9, 1.5 + 0.42 * len(gains)), layout="constrained")  # no pyplot: nothing global
    axes = figure.subplots()
    places = np.arange(len(gains))[::-1]
    ours = 100 * np.array([(one.value, one.low, one.high) for one in gains])
    ours[~np.isfinite(ours)] = np.nan  # drawn as nothing
    off = np.abs(ours[:, 1:] - ours[:, :1]).T
    axes.barh(places + 0.2, ours[:, 0], 0.38, xerr=off, color=OURS, ecolor="#444444", label="here (95% interval)")
    axes.barh(places - 0.2, [100 * (one.paper or 0) for one in gains], 0.38, color=PAPER, label="the paper")
    axes.set_yticks(places, [one.what for one in gains], fontsize=8)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f}" if value else "0")
    axes.set(xlabel="relative gain, %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    figure.savefig(path, dpi=120, metadata={"Software": None})
