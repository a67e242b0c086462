"""Vectors of items that appear after training, from the catalogue alone."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.user_batch import vectors_of
from portrait.training.modality.ready import PREFIX
from portrait.training.modality.text import NAME as TEXT
from portrait.training.modality.text import TextEncoder


class LaterItems:
    """The vectors that a version can give to items that it was not trained with.

    Texts go through its text encoder, and ready vectors count in modalities that were ready at training. Modalities of
    behaviour, such as `collaborative`, are absent.
    """

    def __init__(
        self, modalities: tuple[tuple[str, int], ...], ready: Collection[str], text: TextEncoder | None
    ) -> None:
        """`modalities` are names and dimensions in the order of the columns, `ready` the names of those brought."""
        self._modalities = modalities
        self._ready = frozenset(ready)
        self._text = text

    @property
    def nbytes(self) -> int:
        """Memory of the text encoder."""
        return self._text.nbytes if self._text else 0

    def vectors(self, items: pa.Table) -> Float32:
        """[n, sum of dimensions] float32 of rows of the catalogue; NaN in the columns of absent modalities."""
        columns = [self._modality(items, name, width) for name, width in self._modalities]
        return np.concatenate(columns, axis=1) if columns else np.empty((len(items), 0), np.float32)

    def _modality(self, items: pa.Table, name: str, width: int) -> Float32:
        if name in self._ready and PREFIX + name in items.column_names:
            return vectors_of(items[PREFIX + name].combine_chunks(), width)
        if name == TEXT and self._text is not None:
            return self._text.vectors(items)
        return np.full((len(items), width), np.nan, np.float32)
