"""The training of one run of a study: its cost is counted, its loss is kept, its weights are thrown away."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from portrait.registry.errors import InvalidInput
from portrait.training.clue.batch import Batch
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.flops import batch_flops
from portrait.training.clue.prepare import PreparedSequences
from portrait.training.clue.sizes import non_embedding_parameters
from portrait.training.clue.trainee import ClueTrainee, split_held_out
from portrait.training.runs.training_loop import fit
from portrait.training.scaling.downstream import recall
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import Setting

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
        """The first `steps` batches."""
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
        """None: a run of a study always begins anew."""
        return None

    def report(self, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """Keep the figures of the newest epoch."""
        self.metrics = metrics


SHORTEST = 2  # events of a sequence: with fewer, some users would have no second view and others be held out


def run_config(config: ClueConfig, setting: Setting) -> ClueConfig:
    """The study's config with what the setting says; all steps are one epoch, with one cosine over them.

    Raises InvalidInput for a setting that cannot be trained, whatever the data.
    """
    if setting.sequence_length < SHORTEST:
        raise InvalidInput(f"run {setting.name}: sequences of {setting.sequence_length} event; give {SHORTEST} or more")
    if setting.batch > setting.users:
        raise InvalidInput(
            f"run {setting.name}: a batch of {setting.batch:,} from {setting.users:,} users; lower the one or raise "
            "the other"
        )
    try:
        return replace(
            config,
            size=setting.size,
            most_users=setting.users,
            sequence_length=setting.sequence_length,
            batch_size=setting.batch,
            epochs=1,
            epoch_steps=setting.steps,
            seed=setting.seed,
        )
    except ValueError as error:
        raise InvalidInput(f"run {setting.name}: {error}") from error


def train_run(prepared: PreparedSequences, config: ClueConfig, setting: Setting, device: torch.device) -> Run:
    """Train the setting and measure it; `config` is what all runs of the study share.

    Raises InvalidInput for a setting that these data cannot give.
    """
    started = time.monotonic()
    trainee = ClueTrainee(prepared.cut(setting.sequence_length), run_config(config, setting), device)
    if len(trainee.training) < setting.users:
        raise InvalidInput(
            f"run {setting.name} wants {setting.users:,} users, {len(trainee.training):,} have two views and are not "
            "held out"
        )
    counted, session = CountedTrainee(trainee, setting.steps), MemorySession()
    fit(counted, session)
    _, everybody = split_held_out(trainee.views.users, trainee.config)
    return Run(
        name=setting.name,
        size=setting.size,
        parameters=non_embedding_parameters(trainee.config.shape),
        users=setting.users,
        sequence_length=setting.sequence_length,
        batch=setting.batch,
        steps=setting.steps,
        seed=setting.seed,
        tokens=counted.tokens,
        flops=float(counted.flops),
        train_loss=counted.train_loss,
        loss=session.metrics["held_out_loss"],
        downstream=recall(trainee, everybody),
        seconds=time.monotonic() - started,
        epochs=setting.steps * setting.batch / setting.users,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
