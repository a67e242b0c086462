"""Rows in groups of like length, so that little of what is encoded is padding."""

from collections.abc import Iterator

import torch
from torch import Tensor

WORTH = 512
"""Places of padding that a group of its own has to spare: about what a group costs, however small it is."""


def of_like_length(lengths: Tensor, most: int | None = None) -> Iterator[tuple[Tensor, int]]:
    """(rows int64 [k], their greatest length, at least 1): every row of `lengths` int64 [n] once.

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
    """[n, ...] what was made of the groups, in the order of the rows that they came from."""
    together = torch.cat(parts)
    places = torch.empty(len(together), dtype=torch.int64, device=together.device)
    places[torch.cat(rows)] = torch.arange(len(together), device=together.device)
    return together[places]
