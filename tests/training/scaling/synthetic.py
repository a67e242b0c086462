"""Runs drawn from a known law: each budget has one best size and batch, the others lose more."""

from collections.abc import Sequence

import numpy as np

from portrait.training.scaling.grid import Grid
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import Setting, step_cost

SIZES = {"2m": 2_000_000, "7m": 7_000_000, "20m": 20_000_000, "64m": 64_000_000}
COST = step_cost(SIZES)
IRREDUCIBLE, EXPONENT = 1.5, 0.2
COEFFICIENT = 3.0 * 1e13**EXPONENT
BUDGETS = (1e13, 3e13, 1e14, 3e14, 1e15, 3e15, 1e16)
BEST = ("2m", "2m", "7m", "7m", "20m", "20m", "64m")


def law(flops: float) -> float:
    """The truth."""
    return float(IRREDUCIBLE + COEFFICIENT * flops**-EXPONENT)


def finished(setting: Setting, loss: float, downstream: float | None = None) -> Run:
    """A run of this setting."""
    return Run(
        name=setting.name,
        size=setting.size,
        parameters=SIZES[setting.size],
        users=setting.users,
        sequence_length=setting.sequence_length,
        batch=setting.batch,
        steps=setting.steps,
        seed=setting.seed,
        tokens=setting.steps * setting.batch * setting.sequence_length,
        flops=setting.steps * COST(setting.size, setting.sequence_length, setting.batch),
        train_loss=loss - 0.1,
        loss=loss,
        downstream=downstream,
        seconds=60.0,
        epochs=setting.steps * setting.batch / setting.users,
        finished_at="2026-01-02T03:04:05+00:00",
    )


def study(seed: int = 0, noise: float = 0.005, seeds: Sequence[int] = (0,), rise: float = 0.05) -> list[Run]:
    """A grid of sizes and two batches at each budget; `rise` is what a size beside the best one costs, as a share."""
    rng = np.random.default_rng(seed)
    runs = []
    for budget, best in zip(BUDGETS, BEST, strict=True):
        grid = Grid(tuple(SIZES), (10_000,), (32,), (64, 256), budgets=(budget,), seeds=tuple(seeds))
        for setting in grid.settings(COST):
            compute = setting.steps * COST(setting.size, 32, setting.batch)
            away = abs(np.log(SIZES[setting.size] / SIZES[best])) + (setting.batch == 64)
            loss = law(compute) * (1 + rise * away) * np.exp(rng.normal(scale=noise))
            runs.append(finished(setting, float(loss), downstream=float(0.6 - 0.08 * loss + rng.normal(scale=0.003))))
    return runs


def one(flops: float, loss: float, seed: int = 0, batch: int = 64, size: str = "2m") -> Run:
    """A run of about this compute."""
    return finished(Setting(size, 10_000, 32, batch, round(flops / COST(size, 32, batch)), seed), loss)
