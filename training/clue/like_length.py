"""Groups of rows of like length, which keep padding small."""

from collections.abc import Iterator

import torch
from torch import Tensor

WORTH = 512
"""Places of padding that a further group must save: about the fixed cost of a group."""


def of_like_length(lengths: Tensor, most: int | None = None) -> Iterator[tuple[Tensor, int]]:
    """Yield (rows int64 [k], their greatest length, at least 1); every row of `lengths` int64 [n] comes once.

    A group has at most `most` places (rows times their greatest length), or a single row; None: as many as it takes.
    Which rows come together depends on nothing else: gradient caching encodes the same groups twice.
    """
    lengths = lengths.clamp_min(1)
    order = lengths.argsort(stable=True)
    counts = [(length, count) for length, count in enumerate(lengths.bincount().tolist()) if count]
    start = held = 0
    for place, (length, count) in enumerate(counts):
        held += count
        if place + 1 == len(counts) or held * (counts[place + 1][0] - length) >= WORTH:
            size = max(most // length, 1) if most else held
            for begin in range(start, start + held, size):
                yield order[begin : min(begin + size, start + held)], length
            start, held = start + held, 0


def in_order(parts: list[Tensor], rows: list[Tensor]) -> Tensor:
    """[n, ...] results of the groups, put back into the order of the rows."""
    together = torch.cat(parts)
    places = torch.empty(len(together), dtype=torch.int64, device=together.device)
    places[torch.cat(rows)] = torch.arange(len(together), device=together.device)
    return together[places]
