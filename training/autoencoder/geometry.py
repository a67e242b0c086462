"""The coordinates of z, in which distances between vectors are those between the users' blocks.

Training fixes what z keeps, but not how far apart it puts two users: an autoencoder is as good with any invertible map
of z. So after training z is mapped to where its squared distances are those of the best linear guess of the blocks from
z. Scaling every dimension by itself would undo that, as most directions of z say little, and would then weigh as much
as the few that say most; after a random rotation all dimensions have nearly the same deviation, and it does not.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.autoencoder.model import Autoencoder
from portrait.training.blocks.blocks import Block, BlockKind
from portrait.training.encoding.arrays import Float64

LEAST = 1e-6  # least variance of a direction, as a share of the largest one's


class Geometry:
    """Second moments of z and of the blocks that it should tell, summed chunk by chunk."""

    def __init__(self, model: Autoencoder, blocks: Sequence[Block], numbers: float, categories: float) -> None:
        """Weights in the distance of a block of numbers and of a category, beside 1 of a block of vectors."""
        of_block = torch.tensor([numbers if block.kind == BlockKind.NUMBERS else 1.0 for block in blocks])
        places, self._model = model.places, model
        self._categories = categories
        self._weights = (of_block / places.width)[places.dense_block].sqrt()
        size, told = len(model.z_mean), len(self._weights) + sum(places.code_sizes)
        self._users, self._z, self._told = 0, np.zeros(size), np.zeros(told)
        self._z_z, self._z_told = np.zeros((size, size)), np.zeros((size, told))

    def add(self, rows: Tensor) -> None:
        """Count users in: float32 [n, width] rows."""
        told, z = self._tell(rows), self._model.compress(rows).double().numpy()
        self._users += len(z)
        self._z, self._told = self._z + z.sum(axis=0), self._told + told.sum(axis=0)
        self._z_z, self._z_told = self._z_z + z.T @ z, self._z_told + z.T @ told

    def map(self, seed: int) -> Float64:
        """[dimension, dimension] matrix by which z is multiplied from the left."""
        z, told = self._z / self._users, self._told / self._users
        variance, directions = np.linalg.eigh(self._z_z / self._users - np.outer(z, z))
        whiten = directions / np.sqrt(_bound_below(variance))
        cross = whiten.T @ (self._z_told / self._users - np.outer(z, told)) * self._category_scales(told)
        explained, axes = np.linalg.eigh(cross @ cross.T)
        rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=cross.shape[:1] * 2))[0]
        mapped: Float64 = rotation @ (whiten @ axes * np.sqrt(_bound_below(explained))).T
        return mapped

    def _tell(self, rows: Tensor) -> Float64:
        """[n, columns] standardised numbers by the weight of their block, and codes as one-hot columns."""
        dense, codes, _ = self._model.standardised(rows)
        known = [one_hot(codes[:, place], size + 1)[:, 1:] for place, size in enumerate(self._model.places.code_sizes)]
        told: Float64 = torch.cat([dense * self._weights, *known], dim=1).double().numpy()
        return told

    def _category_scales(self, means: Float64) -> Float64:
        """[columns] factors that give each category its weight, whatever the shares of its values."""
        scales, start = np.ones(len(means)), len(self._weights)
        for size in self._model.places.code_sizes:
            shares = means[start : start + size]
            spread = max(float((shares * (1 - shares)).sum()), LEAST)
            scales[start : start + size] = np.sqrt(self._categories / spread)
            start += size
        return scales


def _bound_below(values: Float64) -> Float64:
    bounded: Float64 = np.maximum(values, LEAST * max(float(values.max()), LEAST))
    return bounded


def settle(model: Autoencoder, blocks: Sequence[Block], rows: Iterable[Tensor], config: AutoencoderConfig) -> None:
    """Write these coordinates into the encoder's weights; the decoder undoes them, so its output stays the same."""
    geometry = Geometry(model, blocks, config.numbers_distance, config.category_distance)
    for chunk in rows:
        geometry.add(chunk)
    model.map_z(torch.from_numpy(geometry.map(config.seed)))
