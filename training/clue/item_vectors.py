"""The item vectors that sequences are made of: those of the artifact, and those learnt after training."""

from copy import copy

from torch import Tensor

FIRST_ROOM = 64  # learnt items, at least; and an eighth of all whenever it is full


class ItemVectors:
    """Rows float32 [items, width]. A table never changes: `grown` gives a longer one, which shares the memory.

    Only the newest may be grown, by one thread at a time.
    """

    def __init__(self, trained: Tensor) -> None:
        self._room = trained  # whose first rows are ...
        self.rows = trained

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory of all rows, and of the room for further ones."""
        return self._room.nbytes

    def grown(self, items: Tensor) -> "ItemVectors":
        """A table with these further items."""
        other, start = copy(self), len(self.rows)
        end = start + len(items)
        if end > len(self._room):
            other._room = self._room.new_zeros(max(end, start + max(start // 8, FIRST_ROOM)), self._room.shape[1])
            other._room[:start] = self.rows
        other._room[start:end] = items
        other.rows = other._room[:end]
        return other
