"""Standardising of vectors by the training users, and how a linear layer takes it into itself."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import nn

from portrait.training.encoding.arrays import Float32

LEAST = 1e-6  # added to deviations, so that a constant dimension does no harm


@dataclass(frozen=True)
class Scale:
    """Mean and deviation float32 [d]: it costs no information and lets one learning rate do for all vectors."""

    mean: Float32
    deviation: Float32

    @classmethod
    def of(cls, vectors: Float32) -> Self:
        """Of the training users."""
        return cls(vectors.mean(axis=0), vectors.std(axis=0) + np.float32(LEAST))

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
