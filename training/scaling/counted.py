"""A run's part of the training loop: so many steps, and what they have cost."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from portrait.training.clue.batch import Batch
from portrait.training.clue.flops import batch_flops
from portrait.training.clue.trainee import ClueTrainee

LAST = 10  # the training loss is the mean over the last tenth of the steps


class CountedTrainee:
    """A `training_loop.Trainee` that makes exactly `steps` steps and counts what each of them really computes."""

    def __init__(self, trainee: ClueTrainee, steps: int) -> None:
        self.trainee, self.steps = trainee, steps
        self.model: nn.Module = trainee.model
        self.optimiser: torch.optim.Optimizer = trainee.optimiser
        self.schedule = trainee.schedule
        self.flops = 0
        self.tokens = 0  # events, and tokens of the distinct items of each step; padding is not among them
        self._losses: list[float] = []

    @property
    def train_loss(self) -> float:
        """Nats, mean over the last tenth of the steps; among the users of a batch, so batches do not compare."""
        last = self._losses[-max(1, self.steps // LAST) :]
        return math.fsum(last) / len(last)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Batch]:
        """The first `steps` of them."""
        return islice(self.trainee.batches(epoch, rank, world), self.steps)

    def backward(self, batch: Batch) -> Tensor:
        """The loss of a batch, its gradients added to the model's, its cost to the counts."""
        loss = self.trainee.backward(batch)
        self.flops += batch_flops(self.trainee.clue.shape, batch)
        self.tokens += int((batch.tokens > 0).sum())
        self.tokens += sum(int((view.items >= 0).sum()) for view in (batch.first, batch.second))
        self._losses.append(float(loss.detach()))
        return loss

    def held_out_loss(self) -> float:
        """The loss among the fixed candidates."""
        return self.trainee.held_out_loss()


class MemorySession:
    """A `training.runs.session.Session` that leaves nothing behind: a run of a study is repeated, not resumed."""

    rank, world = 0, 1

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def restore(self) -> dict[str, Any] | None:
        """It always begins."""
        return None

    def report(self, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """Keep the figures of the newest epoch."""
        self.metrics = metrics
