"""The loss picture of a run."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw_losses(epochs: list[dict[str, Any]], path: Path) -> None:
    """Training and held-out loss by epoch, as PNG; the best epoch is marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")  # no pyplot: nothing global, no display
    axes = figure.subplots()
    numbers = [line["epoch"] + 1 for line in epochs]
    axes.plot(numbers, [line["loss"] for line in epochs], label="training users")
    axes.plot(numbers, [line["held_out_loss"] for line in epochs], label="held-out users")
    if epochs:
        axes.axvline(epochs[-1]["best_epoch"] + 1, color="grey", linestyle=":", label="kept")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
