"""Vectors of items, which become more after training: those of the artifact, and those learnt since."""

from copy import copy

from torch import Tensor

FIRST_ROOM = 64  # further rows, at least; and an eighth of all whenever it is full


class GrowingRows:
    """Rows float32 [items, width]. They never change: `grown` gives more of them, which share the memory.

    Only the newest may be grown, by one thread at a time.
    """

    def __init__(self, first: Tensor) -> None:
        self._room = first  # whose first rows are ...
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
