"""Standardised rows for linear maps: what is absent is 0, so it moves nobody."""

from collections.abc import Mapping, Sequence

import numpy as np

from portrait.training.blocks.blocks import Block, BlockKind
from portrait.training.blocks.context import ACTIVITY
from portrait.training.encoding.arrays import Float32, Float64

CLIP = 8.0  # standard deviations; a single wild value must not move a user far


class StandardRows:
    """Turns rows [n, width] into x [n, columns]: numbers at mean 0 and deviation 1, codes as one-hot columns.

    The columns keep the order of the blocks. A one-hot column is less the share of its value among the users who have
    one, so that a user without a value is in the middle.
    """

    def __init__(self, blocks: Sequence[Block], statistics: Mapping[str, Float32], shares: Float32) -> None:
        """`statistics` are row_mean and row_scale [width]; `shares` [columns] are 0 outside of categories."""
        self.mean, self.scale, self.shares = statistics["row_mean"], statistics["row_scale"], shares
        self.of_row: list[tuple[Block, slice, slice]] = []
        row = column = 0
        for block in blocks:
            width = columns_of(block)
            self.of_row.append((block, slice(row, row + block.width), slice(column, column + width)))
            row, column = row + block.width, column + width
            if block.name == "activity" and not block.field:  # its first numbers count events, by window and then all
                self._all_events = row - block.width + block.width // len(ACTIVITY) - 1
        self.columns = column

    def standardised(self, rows: Float32) -> Float32:
        """[n, columns] float32 of rows with NaN in absent blocks."""
        x = np.zeros((len(rows), self.columns), np.float32)
        for block, of_row, columns in self.of_row:
            if block.kind == BlockKind.CATEGORY:
                has = np.flatnonzero(~np.isnan(rows[:, of_row.start]))
                x[has, columns] = -self.shares[columns]
                x[has, columns.start + rows[has, of_row.start].astype(np.int64)] += 1
            else:
                scaled = (rows[:, of_row] - self.mean[of_row]) / self.scale[of_row]
                np.clip(np.nan_to_num(scaled, copy=False, nan=0.0), -CLIP, CLIP, out=x[:, columns])
        return x

    def events(self, rows: Float32) -> Float64:
        """[n] how many events the rows count; 0 without any."""
        counted: Float64 = np.expm1(np.nan_to_num(rows[:, self._all_events].astype(np.float64), nan=0.0))
        return counted


def columns_of(block: Block) -> int:
    """How many columns a block has in x."""
    return block.categories if block.kind == BlockKind.CATEGORY else block.width
