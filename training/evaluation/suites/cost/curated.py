"""Curated features of one consumer: computed for any users as of any time, in training and for the online store."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.baseline import Suits, as_float32
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.evaluation.suites.cost.blocks import Block
from portrait.training.evaluation.tasks.methods import Method
from portrait.training.runs.training_inputs import TrainingInputs

NAME = "curated"


@dataclass(frozen=True)
class CuratedFeatures:
    """A `UserFeatures` of blocks side by side."""

    bags: Bags
    blocks: tuple[Block, ...]

    @property
    def names(self) -> list[str]:
        """One for each column of `of`."""
        return [name for block in self.blocks for name in block.names(self.bags)]

    def of(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """See `UserFeatures`."""
        arrays = self.bags.arrays(users, as_of)
        return as_float32(np.concatenate([block.of(arrays, self.bags) for block in self.blocks], axis=1))


@dataclass(frozen=True)
class CuratedMethod(Method):
    """A team's features under the head that suits tables of numbers: gradient boosting; two towers for items."""

    name: str = NAME
    suits: Suits = Suits.BOOSTING
    blocks: tuple[Block, ...] = ()

    def features(self, inputs: TrainingInputs, seed: int) -> CuratedFeatures:
        """Nothing is learnt but which items, services and actions there are."""
        return CuratedFeatures(Bags.over(inputs), self.blocks)
