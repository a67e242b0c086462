"""Items that appeared after a version was trained: an overlay over its artifact, derived from the log alone."""

import threading
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from torch import Tensor

from portrait.feature_repo.history.catalogue import items_position, items_since
from portrait.feature_repo.log.event_log import EventLog
from portrait.training.encoding.arrays import UNKNOWN, Float32
from portrait.training.encoding.vocabulary import Codes, catalogue_keys

if TYPE_CHECKING:
    from portrait.training.encoding.encoder import Encoder


class NewItems:
    """Brings encoders up to the catalogue of a log. Whoever encodes asks it before: batch, refresh, compute-on-read."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._reading = threading.Lock()

    def bring(self, encoder: "Encoder") -> None:
        """Have the encoder learn all items of now; one small query when it knows them. Safe from many threads.

        The first time it reads the whole catalogue. Raises Unavailable when the database does not answer.
        """
        if items_position(self._log) <= encoder.items_position:
            return
        with self._reading:  # a thread that has waited here finds it done
            encoder.learn(*items_since(self._log, encoder.items_position))


FIRST_ROOM = 64  # rows to make room for, at least; an eighth of all rows when that is more


class GrowingRows:
    """Rows float32 [items, width]. They never change: `grown` gives more of them, which share the memory.

    Only the newest may be grown, by one thread at a time.
    """

    def __init__(self, first: Tensor) -> None:
        self._room = first  # allocated memory; `rows` are its first ones
        self.rows = first

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory of all rows, and of the room for further ones."""
        return self._room.nbytes

    def grown(self, further: Tensor) -> "GrowingRows":
        """These and further rows; what there was is copied now and then only."""
        other, start = copy(self), len(self.rows)
        end = start + len(further)
        if end > len(self._room):
            other._room = self._room.new_zeros(max(end, start + max(start // 8, FIRST_ROOM)), self._room.shape[1])
            other._room[:start] = self.rows
        other._room[start:end] = further
        other.rows = other._room[:end]
        return other


def new_item_vectors(
    items: pa.Table, known: Codes, vectors_of: Callable[[pa.Table], Float32]
) -> tuple[list[str], Float32]:
    """Keys and vectors of the items that are not known yet, each by the first of its rows that gives it a vector.

    `vectors_of` gives [n, width] for rows of the catalogue, NaN where a row says nothing.
    """
    items = items.filter(pa.array(known.encode(catalogue_keys(items)) == UNKNOWN))
    vectors = vectors_of(items)
    telling = np.flatnonzero(~np.isnan(vectors).all(axis=1))
    keys = catalogue_keys(items).to_pylist()
    first = {keys[row]: row for row in telling[::-1].tolist()}
    rows = sorted(first.values())
    return [keys[row] for row in rows], vectors[rows]
