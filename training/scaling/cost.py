"""What a step would cost, from batches as they are drawn from the study's users."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import islice

import torch

from portrait.training.clue.batch import Batch
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.flops import batch_flops
from portrait.training.clue.prepare import Prepared
from portrait.training.clue.sizes import SIZES, non_embedding_parameters
from portrait.training.clue.trainee import ClueTrainee, shape_of
from portrait.training.scaling.setting import StepCost, known_size

DRAWS = 8  # batches whose mean is taken
PARAMETERS: Mapping[str, int] = {name: non_embedding_parameters(size) for name, size in SIZES.items()}
"""Weights of each named size without embeddings."""


def drawn_cost(prepared: Prepared, config: ClueConfig) -> StepCost:
    """The mean over a few drawn batches: how many distinct items they hold and how long they are padded depends on the
    data. A batch larger than all users is taken as so many times their cost.
    """
    smallest = min(PARAMETERS, key=lambda name: PARAMETERS[name])  # what is drawn does not depend on the size

    @cache
    def drawn(sequence_length: int, batch: int) -> tuple[list[Batch], float]:
        plan = replace(config, size=smallest, sequence_length=sequence_length, batch_size=batch, epoch_steps=DRAWS)
        trainee = ClueTrainee(prepared.cut(sequence_length), plan, torch.device("cpu"))
        return list(islice(trainee.batches(0, 0, 1), DRAWS)), batch / trainee.users_per_step

    def cost(size: str, sequence_length: int, batch: int) -> float:
        known_size(size, PARAMETERS)
        batches, times = drawn(sequence_length, batch)
        chosen = replace(config, size=size, sequence_length=sequence_length)
        shape = shape_of(chosen, len(prepared.tokenizer), len(prepared.vocabularies.actions))
        return times * sum(batch_flops(shape, one) for one in batches) / len(batches)

    return cost
