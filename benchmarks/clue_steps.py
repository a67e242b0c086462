"""Training steps of `clue` beside the naive step, in the home of PORTRAIT_HOME.

The naive step encodes the item of every event anew, everything padded to the longest; all contenders take the same
users and views and end in the same gradients. What is counted are users a second, forward and backward; the batches
are drawn before.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from benchmarks.rounds import Measurement, Section, alternate, ratio
from benchmarks.table import measurements_table, ratios_table
from benchmarks.threads import torch_threads
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.infra.cli.output import console, notices, progress_bar
from portrait.infra.jobs.versions import training_inputs
from portrait.infra.portrait import Portrait
from portrait.training.clue.batch import Batch, Sequences
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.family import ClueFamily
from portrait.training.clue.trainee import ClueTrainee

AIM = 3.0


def main(
    batch: Annotated[list[int] | None, typer.Option(help="Users of a step; may be given again.")] = None,
    size: Annotated[str, typer.Option(help="Of the model.")] = "nano",
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 3,
) -> None:
    """Users a second of the naive step, with each distinct item once, and with groups of like length too."""
    config = ClueConfig(size=size, text_length=16)
    with Portrait.open() as portrait, TemporaryDirectory() as folder, progress_bar() as progress:
        ClueFamily().prepare(training_inputs(portrait, cut_snapshot(portrait.log)), config, Path(folder), progress)
        measured, ratios = [], []
        for users in batch or (256, 1024, 4096):
            notices().print(f"measuring batches of {users:,} users")
            naive, once, ours = _measure(Path(folder), replace(config, batch_size=users), rounds)
            measured += [naive, once, ours]
            ratios += [
                ratio(f"training step / naive step, {users:,} users", ours, naive, AIM),
                ratio(f"each distinct item once / naive step, {users:,} users", once, naive),
            ]
    section = Section("clue steps", measured, ratios)
    for table in (measurements_table(section), ratios_table(section)):
        console().print(table)


def _measure(folder: Path, config: ClueConfig, rounds: int) -> list[Measurement]:
    trainee = ClueFamily().trainee(folder, config, torch.device("cpu"))
    batch = next(trainee.batches(0, 0, 1))
    anew = _every_event(batch)
    contenders = {
        f"naive: {len(anew.tokens):,} events": lambda: _plain(trainee, anew),
        f"once: {len(batch.tokens):,} items": lambda: _plain(trainee, batch),
        "training step: also in groups of like length": lambda: trainee.backward(batch),
    }
    with torch_threads(1):
        runs = alternate({name: partial(_rate, trainee, step) for name, step in contenders.items()}, rounds)
    return [Measurement(name, "users/s", tuple(rates)) for name, rates in runs.items()]


def _rate(trainee: ClueTrainee, step: Callable[[], object]) -> float:
    started = time.perf_counter()
    trainee.optimiser.zero_grad()
    step()
    return trainee.users_per_step / (time.perf_counter() - started)


def _plain(trainee: ClueTrainee, batch: Batch) -> None:
    """One graph from the tokens to the loss, as a textbook has it."""
    items = trainee.clue.items(batch.tokens)
    views = torch.stack([trainee.clue.services(view, items) for view in (batch.first, batch.second)], dim=1)
    torch.autograd.backward(trainee.objective(views, trainee.clue.temperature(), batch.users, batch.categories))


def _every_event(batch: Batch) -> Batch:
    """The same batch with a row of tokens for every event."""
    views, tokens, start = [], [], 0
    for view in (batch.first, batch.second):
        there = view.items >= 0
        places = torch.full_like(view.items, -1)
        places[there] = torch.arange(start, start + int(there.sum()))
        tokens.append(batch.tokens[view.items[there]])
        views.append(Sequences(places, view.actions, view.gaps))
        start += int(there.sum())
    return replace(batch, tokens=torch.cat(tokens), first=views[0], second=views[1])


if __name__ == "__main__":
    typer.run(main)
