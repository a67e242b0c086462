"""Mean and scale of the columns of rows; a few wild values do not decide them for everybody."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from portrait.training.blocks.blocks import Block, BlockKind, Layout
from portrait.training.encoding.arrays import Float32, Float64

FEW = 3  # values of a column may be wild, or a fiftieth of them where that is more
DROWNED = 6.0  # times as large as that of the others: a scale at which the others look equal


class Moments:
    """Mean and scale of every column, and the entropy of every category: in one pass, and a look at wild columns."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.count: Float64 = np.zeros(layout.width)
        self.sum: Float64 = np.zeros(layout.width)
        self.squares: Float64 = np.zeros(layout.width)
        self.lowest: Float64 = np.full(layout.width, np.inf)
        self.highest: Float64 = np.full(layout.width, -np.inf)
        self.codes = {name: np.zeros(max(size, 1)) for name, size in layout.categories}

    def add(self, rows: Float32) -> None:
        wide = rows.astype(np.float64)
        present = ~np.isnan(wide)
        wide[~present] = 0
        self.count += present.sum(axis=0)
        self.sum += wide.sum(axis=0)
        self.squares += (wide**2).sum(axis=0)
        np.fmin(self.lowest, np.fmin.reduce(rows, axis=0, initial=np.inf), out=self.lowest)
        np.fmax(self.highest, np.fmax.reduce(rows, axis=0, initial=-np.inf), out=self.highest)
        for block, columns in self._places():
            if block.kind == BlockKind.CATEGORY:
                codes = rows[present[:, columns.start], columns.start].astype(np.int64)
                self.codes[block.name] += np.bincount(codes, minlength=len(self.codes[block.name]))

    def standardisation(self, rows: Float32) -> dict[str, Float32]:
        """The model's buffers by name: row_mean and row_scale [width], code_entropy [categories], float32.

        `rows` [users, width] are those of all calls of `add`.
        """
        count = np.maximum(self.count, 1)
        mean = self.sum / count
        variance = np.maximum(self.squares / count - mean**2, 0)
        # Few values cannot hold nearly all of the variance unless one is this far from the mean.
        far = 0.9 * np.sqrt(variance * count / np.maximum(few_of(count), 1))
        for column in np.flatnonzero(np.maximum(self.highest - mean, mean - self.lowest) >= far):
            mean[column], variance[column] = tame_moments(rows[:, column], mean[column], variance[column])
        for block, columns in self._places():
            if block.kind == BlockKind.CATEGORY:
                mean[columns], variance[columns] = 0, 1
            if block.kind == BlockKind.VECTOR:
                variance[columns] = variance[columns].mean()
        scale = np.where(variance > 1e-12, np.sqrt(variance), 1)
        entropy = [_entropy(counts) for counts in self.codes.values()]
        values = {"row_mean": mean, "row_scale": scale, "code_entropy": np.array(entropy)}
        return {name: value.astype(np.float32) for name, value in values.items()}

    def _places(self) -> Iterator[tuple[Block, slice]]:
        start = 0
        for block in self.layout.blocks:
            yield block, slice(start, start + block.width)
            start += block.width


def _entropy(counts: Float64) -> float:
    """Entropy in nats; at least 0.1, so that a field with one value does not get an unbounded weight."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return max(float(-(shares * np.log(shares)).sum()), 0.1)


def few_of(count: Any) -> Any:
    """How many of so many values may be wild."""
    return np.minimum(np.maximum(FEW, count // 50), count // 4)


def tame_moments(values: Float32, mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of a column, NaN where it is absent, given those of all its values.

    Where a few values are so large that all others would look equal beside them, they count as if they were as far out
    as the farthest of the others; the model itself clips them anyway.
    """
    present = values[~np.isnan(values)].astype(np.float64)
    few = int(few_of(len(present)))
    if few == 0:
        return mean, variance
    middle = float(np.median(present))
    away = np.abs(present - middle)
    reach = float(np.partition(away, -few - 1)[-few - 1])  # of the farthest of the others
    others = present[away <= reach]
    if not 0 < DROWNED**2 * others.var() < variance:
        return mean, variance
    tamed = np.clip(present, middle - reach, middle + reach)
    return float(tamed.mean()), float(tamed.var())
