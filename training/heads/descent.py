"""Gradient descent of small networks with early stopping, and the scale that standardises their vectors."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from portrait.training.encoding.arrays import Float32

BATCH, EPOCHS, PATIENCE = 256, 60, 4
RATE, DECAY = 2e-3, 1e-2


def descend(
    network: nn.Module, rows: int, loss: Callable[[Tensor], Tensor], score: Callable[[], float], seed: int
) -> None:
    """Leave the network with the weights of the epoch that scores best; higher is better, and the earlier one of two.

    `loss` is given the places of a batch among the `rows` training rows.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    best, best_score, since = deepcopy(network.state_dict()), float("-inf"), 0
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        network.train()
        order = torch.randperm(rows, generator=generator)
        for start in range(0, rows, BATCH):
            optimiser.zero_grad()
            torch.autograd.backward(loss(order[start : start + BATCH]))
            optimiser.step()
        network.eval()
        reached = score()
        since = 0 if reached > best_score else since + 1
        if not since:
            best, best_score = deepcopy(network.state_dict()), reached
        if since == PATIENCE:
            break
    network.load_state_dict(best)
    network.eval()


LEAST = 1e-6  # added to deviations, so that a constant dimension does no harm


@dataclass(frozen=True)
class Scale:
    """Mean and deviation, float32 [d] each: scaling loses nothing, and one learning rate does for all vectors."""

    mean: Float32
    deviation: Float32

    @classmethod
    def from_vectors(cls, vectors: Float32) -> Self:
        """The scale of vectors float32 [n, d], those of the training users."""
        return cls(vectors.mean(axis=0), vectors.std(axis=0) + np.float32(LEAST))

    @property
    def common(self) -> Self:
        """One deviation for all dimensions, the largest: those that say little stay small, as the vectors have them."""
        return replace(self, deviation=np.full_like(self.deviation, self.deviation.max()))

    @property
    def is_common(self) -> bool:
        """Whether all dimensions have about the same deviation."""
        return bool(self.deviation.max() < 1.1 * self.deviation.min())

    def apply(self, vectors: Float32) -> Float32:
        """float32 [n, d] standardised."""
        scaled: Float32 = vectors - self.mean
        scaled /= self.deviation
        return scaled

    @torch.no_grad()
    def fold_into(self, first: nn.Module) -> None:
        """Have a linear layer that was trained on standardised vectors take raw ones."""
        assert isinstance(first, nn.Linear)
        first.weight.div_(torch.from_numpy(self.deviation))
        first.bias.sub_(first.weight @ torch.from_numpy(self.mean))
