"""The setting of a run: its name in the log, and the cost of its steps."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Self

import torch

from portrait.registry.errors import InvalidInput
from portrait.training.clue.batch import Batch
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.flops import batch_flops
from portrait.training.clue.prepare import PreparedSequences
from portrait.training.clue.sizes import SIZES, non_embedding_parameters
from portrait.training.clue.trainee import ClueTrainee, shape_of

_NAME = re.compile(r"(\S+)-u(\d+)-l(\d+)-b(\d+)-t(\d+)-s(\d+)")

StepCost = Callable[[str, int, int], float]
"""FLOPs of one training step of (size, sequence length, batch)."""


@dataclass(frozen=True)
class Setting:
    """A run that can be trained."""

    size: str
    users: int  # distinct training users
    sequence_length: int  # items a service sequence
    batch: int  # users a step
    steps: int
    seed: int

    @property
    def configuration(self) -> str:
        """The setting without its seed, as text; runs that share it are repetitions of each other."""
        return f"{self.size}-u{self.users}-l{self.sequence_length}-b{self.batch}-t{self.steps}"

    @property
    def name(self) -> str:
        """The key of the run in the log."""
        return f"{self.configuration}-s{self.seed}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """The setting of a run's name; raises InvalidInput for any other text."""
        parts = _NAME.fullmatch(name)
        if parts is None:
            raise InvalidInput(f"{name!r} is no name of a run: write it as nano-u10000-l32-b128-t500-s0")
        size, *numbers = parts.groups()
        return cls(size, *map(int, numbers))


def step_cost(parameters: Mapping[str, int]) -> StepCost:
    """The usual estimate, 6 x parameters x positions; attention's own products are left out.

    `parameters` holds the non-embedding parameters of each named size. The function raises InvalidInput for another.
    """

    def cost(size: str, sequence_length: int, batch: int) -> float:
        return 6.0 * size_parameters(size, parameters) * sequence_length * batch

    return cost


def size_parameters(size: str, parameters: Mapping[str, int]) -> int:
    """The parameters of a named size; raises InvalidInput for a name that is not there."""
    if size not in parameters:
        raise InvalidInput(f"there is no size {size!r}; the sizes are {', '.join(parameters)}")
    return parameters[size]


DRAWS = 8  # batches whose mean is taken
PARAMETERS: Mapping[str, int] = {name: non_embedding_parameters(size) for name, size in SIZES.items()}
"""Weights of each named size without embeddings."""


def sampled_step_cost(prepared: PreparedSequences, config: ClueConfig) -> StepCost:
    """The mean over a few drawn batches, as their distinct items and their padding depend on the data.

    A batch larger than all users is taken as so many times their cost.
    """
    smallest = min(PARAMETERS, key=lambda name: PARAMETERS[name])  # what is drawn does not depend on the size

    @cache
    def drawn(sequence_length: int, batch: int) -> tuple[list[Batch], float]:
        plan = replace(config, size=smallest, sequence_length=sequence_length, batch_size=batch, epoch_steps=DRAWS)
        trainee = ClueTrainee(prepared.cut(sequence_length), plan, torch.device("cpu"))
        return list(islice(trainee.batches(0, 0, 1), DRAWS)), batch / trainee.users_per_step

    def cost(size: str, sequence_length: int, batch: int) -> float:
        size_parameters(size, PARAMETERS)
        batches, times = drawn(sequence_length, batch)
        chosen = replace(config, size=size, sequence_length=sequence_length)
        shape = shape_of(chosen, len(prepared.tokenizer), len(prepared.vocabularies.actions))
        return times * sum(batch_flops(shape, one) for one in batches) / len(batches)

    return cost
