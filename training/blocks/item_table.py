"""The table of item vectors that rows are pooled from: the artifact's, then those learnt after training."""

from copy import copy

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from portrait.training.encoding.arrays import Float32, Float64, Int64
from portrait.training.encoding.later_items import GrowingRows


class ItemTable:
    """Rows [dimensions of the modalities, then a count of 1 for each modality that is present, else zeros and 0].

    Codes up to `trained` are rows of the artifact; the following ones were learnt. A table never changes: `grown` gives
    a longer one. Only the newest may be grown, by one thread at a time.
    """

    def __init__(self, widths: tuple[int, ...], items: Float32) -> None:
        """`items` is [items, sum of the modalities' `widths`], NaN where an item lacks a modality."""
        self.widths = widths
        self._trained = torch.from_numpy(_poolable(widths, items))
        self._learnt = GrowingRows(self._trained[:0])  # apart: the artifact's rows are never copied

    @property
    def nbytes(self) -> int:
        """Memory of all rows, and of the room for further ones."""
        return self._trained.nbytes + self._learnt.nbytes

    def grown(self, items: Float32) -> "ItemTable":
        """A table with these further items; its cost is in proportion to them, not to the items there are."""
        other = copy(self)
        other._learnt = self._learnt.grown(torch.from_numpy(_poolable(self.widths, items)))
        return other

    def sums(self, items: Int64, bags: Int64, count: int, weights: Float64 | None = None) -> Float32:
        """[count, columns] sums of item rows a bag, each times its weight; bags ascend."""
        learnt = items >= len(self._trained)
        if not learnt.any():
            return _sums(self._trained, items, bags, count, weights)
        of_trained, of_learnt = (None if weights is None else weights[which] for which in (~learnt, learnt))
        trained = _sums(self._trained, items[~learnt], bags[~learnt], count, of_trained)
        return trained + _sums(self._learnt.rows, items[learnt] - len(self._trained), bags[learnt], count, of_learnt)


def _sums(table: torch.Tensor, items: Int64, bags: Int64, count: int, weights: Float64 | None) -> Float32:
    starts = np.searchsorted(bags, np.arange(count))
    each = None if weights is None else torch.from_numpy(weights.astype(np.float32))
    summed: Float32 = embedding_bag(
        torch.from_numpy(items), table, torch.from_numpy(starts), mode="sum", per_sample_weights=each
    ).numpy()
    return summed


def _poolable(widths: tuple[int, ...], items: Float32) -> Float32:
    starts = np.cumsum([0, *widths])[: len(widths)].astype(np.int64)
    present = ~np.isnan(items[:, starts])
    return np.concatenate([np.nan_to_num(items), present], axis=1).astype(np.float32)
