"""Training FLOPs of CLUE: those of the matrices and of attention, a multiply-add counted as two.

The backward pass costs twice the forward one. The second encoding of gradient caching buys memory, not learning,
and is left out, as are the [n, n] cosines of the loss. Padding is computed, so it counts.
"""

import torch

from portrait.training.clue.batch import Batch
from portrait.training.clue.like_length import of_like_length
from portrait.training.clue.model import Shape

PASSES = 3  # forward once, backward twice


def token_flops(shape: Shape, length: int) -> int:
    """Training FLOPs of one place of a row of `length` places, in either transformer: 6 for every weight of it, and
    for attention 12 for each place it looks at and each number of the width; times the layers.
    """
    matrices = 4 * shape.width**2 + 2 * shape.width * shape.feed_forward
    attention = 2 * length * shape.width
    return PASSES * 2 * shape.layers * (matrices + attention)


def step_flops(shape: Shape, items: int, tokens: int, sequences: int, events: int) -> int:
    """Training FLOPs of a step over `items` distinct items of `tokens` places and `sequences` of `events` places.

    A batch of n users has 2 n sequences.
    """
    texts = items * tokens * token_flops(shape, tokens)
    services = sequences * events * token_flops(shape, events)
    return texts + services + PASSES * 2 * sequences * shape.width * shape.dimension


def batch_flops(shape: Shape, batch: Batch) -> int:
    """Training FLOPs of a step over this batch, as its groups of like length are padded."""
    texts = of_like_length((batch.tokens > 0).sum(dim=1))
    sequences = of_like_length(torch.cat([batch.first.lengths, batch.second.lengths]))
    items = sum(step_flops(shape, len(rows), length, 0, 0) for rows, length in texts)
    return items + sum(step_flops(shape, 0, 0, len(rows), length) for rows, length in sequences)
