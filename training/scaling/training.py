"""Training one run of a study: its weights are thrown away, what it tells is kept."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import torch

from portrait.registry.errors import InvalidInput
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.prepare import Prepared
from portrait.training.clue.sizes import non_embedding_parameters
from portrait.training.clue.trainee import ClueTrainee, divided
from portrait.training.runs.training_loop import fit
from portrait.training.scaling.counted import CountedTrainee, MemorySession
from portrait.training.scaling.downstream import recall
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import Setting

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


def train_run(prepared: Prepared, config: ClueConfig, setting: Setting, device: torch.device) -> Run:
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
    _, everybody = divided(trainee.views.users, trainee.config)
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
