"""Training steps of `clue` that encode each distinct item once, beside the naive step, in the home of PORTRAIT_HOME.

The naive step encodes the item of every event anew; both take the same users, views and chunks, and end in the same
gradients. What is counted are users a second, forward and backward; the batches are drawn before.
"""

import time
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
from feature_repo.log.snapshot import cut
from infra.cli.output import console, notices, progress_bar
from infra.pipeline import training_inputs
from infra.portrait import Portrait
from training.clue.batch import Batch, Sequences
from training.clue.config import ClueConfig
from training.clue.family import ClueFamily
from training.clue.trainee import ClueTrainee

AIM = 3.0
CHUNK = 32_768  # tokens, or events: bounds the memory of both alike


def main(
    batch: Annotated[list[int] | None, typer.Option(help="Users of a step; may be given again.")] = None,
    size: Annotated[str, typer.Option(help="Of the model.")] = "nano",
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 3,
) -> None:
    """Users a second with and without encoding each distinct item once."""
    config = ClueConfig(size=size, text_length=16, chunk=CHUNK)
    with Portrait.open() as portrait, TemporaryDirectory() as folder, progress_bar() as progress:
        ClueFamily().prepare(training_inputs(portrait, cut(portrait.log)), config, Path(folder), progress)
        measured, ratios = [], []
        for users in batch or (256, 1024, 4096):
            notices().print(f"measuring batches of {users:,} users")
            once, anew = _measure(Path(folder), replace(config, batch_size=users), rounds)
            measured += [once, anew]
            ratios.append(ratio(f"each distinct item once / every event's anew, {users:,} users", once, anew, AIM))
    section = Section("clue steps", measured, ratios)
    for table in (measurements_table(section), ratios_table(section)):
        console().print(table)


def _measure(folder: Path, config: ClueConfig, rounds: int) -> tuple[Measurement, Measurement]:
    trainee = ClueFamily().trainee(folder, config, torch.device("cpu"))
    batch = next(trainee.batches(0, 0, 1))
    naive = _naive(batch)
    events = f"{len(naive.tokens):,} events of {len(batch.tokens):,} items"
    contenders = {f"once, {events}": batch, f"anew, {events}": naive}
    with torch_threads(1):
        runs = alternate({name: partial(_rate, trainee, one) for name, one in contenders.items()}, rounds)
    once, anew = (Measurement(name, "users/s", tuple(rates)) for name, rates in runs.items())
    return once, anew


def _rate(trainee: ClueTrainee, batch: Batch) -> float:
    started = time.perf_counter()
    trainee.optimiser.zero_grad()
    trainee.backward(batch)
    return len(batch) / (time.perf_counter() - started)


def _naive(batch: Batch) -> Batch:
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
