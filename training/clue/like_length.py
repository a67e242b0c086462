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
    present, counts = (values.tolist() for values in lengths.unique(return_counts=True))
    start = held = 0
    for place, (length, count) in enumerate(zip(present, counts, strict=True)):
        held += count
        last = place == len(present) - 1
        if last or held * (present[place + 1] - length) >= WORTH:
            for rows in order[start : start + held].split(max(most // length, 1) if most else held):
                yield rows, length
            start, held = start + held, 0


def in_order(parts: list[Tensor], rows: list[Tensor]) -> Tensor:
    """[n, ...] what was made of the groups, in the order of the rows that they came from."""
    together = torch.cat(parts)
    places = torch.empty(len(together), dtype=torch.int64, device=together.device)
    places[torch.cat(rows)] = torch.arange(len(together), device=together.device)
    return together[places]
