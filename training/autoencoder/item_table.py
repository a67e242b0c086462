"""The item vectors that a user's rows are pooled from: those of the artifact, and those learnt after training."""

from copy import copy

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from training.arrays import Float32, Int64

FIRST_ROOM = 64  # learnt items; doubled whenever it is full


class ItemTable:
    """Rows [dimensions of the modalities, then a count of 1 for each modality that is present, else zeros and 0].

    Codes up to `trained` are rows of the artifact; the following ones were learnt. A table never changes: `grown` gives
    a longer one, which shares the memory. Only the newest may be grown, by one thread at a time.
    """

    def __init__(self, widths: tuple[int, ...], items: Float32) -> None:
        """`items` is [items, sum of the modalities' `widths`], NaN where an item lacks a modality."""
        self.widths = widths
        self._trained = torch.from_numpy(_poolable(widths, items))
        self._room = np.empty((0, self._trained.shape[1]), np.float32)  # whose first rows are ...
        self._learnt = torch.from_numpy(self._room)

    @property
    def nbytes(self) -> int:
        """Memory of all rows, and of the room for further ones."""
        return int(self._trained.nbytes + self._room.nbytes)

    def grown(self, items: Float32) -> "ItemTable":
        """A table with these further items; its cost is in proportion to them, not to the items there are."""
        other, start = copy(self), len(self._learnt)
        end = start + len(items)
        if end > len(self._room):
            other._room = np.empty((max(end, 2 * len(self._room), FIRST_ROOM), self._room.shape[1]), np.float32)
            other._room[:start] = self._room[:start]
        other._room[start:end] = _poolable(self.widths, items)
        other._learnt = torch.from_numpy(other._room[:end])
        return other

    def sums(self, items: Int64, bags: Int64, count: int) -> Float32:
        """[count, columns] sums of item rows a bag; bags ascend."""
        learnt = items >= len(self._trained)
        if not learnt.any():
            return _sums(self._trained, items, bags, count)
        trained = _sums(self._trained, items[~learnt], bags[~learnt], count)
        return trained + _sums(self._learnt, items[learnt] - len(self._trained), bags[learnt], count)


def _sums(table: torch.Tensor, items: Int64, bags: Int64, count: int) -> Float32:
    starts = np.searchsorted(bags, np.arange(count))
    summed: Float32 = embedding_bag(torch.from_numpy(items), table, torch.from_numpy(starts), mode="sum").numpy()
    return summed


def _poolable(widths: tuple[int, ...], items: Float32) -> Float32:
    starts = np.cumsum([0, *widths])[: len(widths)].astype(np.int64)
    present = ~np.isnan(items[:, starts])
    return np.concatenate([np.nan_to_num(items), present], axis=1).astype(np.float32)
