"""The training loop of every family: epochs, early stopping, and the state from which it goes on bit for bit."""

import math
import time
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, distributed, nn

from portrait.training.runs.session import Session


@dataclass(frozen=True)
class Schedule:
    """Number of epochs, patience, and the learning rate over time."""

    epochs: int  # 0: the weights stay random, as the baseline that training has to beat
    patience: int
    learning_rate: float
    seed: int

    def rate(self, progress: float) -> float:
        """Learning rate after this share of all steps: 2% warm-up, then a cosine to a tenth."""
        warm = min(1.0, progress / 0.02)
        return self.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * progress))


class Trainee(Protocol):
    """A model with its data, as a family gives it to the loop."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    steps: int  # an epoch, the same on every worker

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Sized]:
        """One worker's part of the epoch's batches; depends on nothing but the arguments and the seed.

        The length of a batch is the number of its users.
        """
        ...

    def backward(self, batch: Any) -> Tensor:
        """The loss of a batch, its gradients added to the model's. A family may cache gradients in here."""
        ...

    def held_out_loss(self) -> float:
        """The loss on the users kept aside, the same on every worker; called in evaluation mode, without gradients."""
        ...


@dataclass
class State:
    """The state of training after an epoch, with all that a resumed run needs."""

    epoch: int
    model: dict[str, Any]
    optimiser: dict[str, Any]
    best: dict[str, Any]  # weights of the best epoch
    best_loss: float
    best_epoch: int

    def finished(self, schedule: Schedule) -> bool:
        """Whether all epochs were run, or the held-out loss has stopped falling."""
        return self.epoch + 1 >= schedule.epochs or self.epoch - self.best_epoch >= schedule.patience


def fit(trainee: Trainee, session: Session) -> None:
    """Train until the schedule ends; every epoch is logged and checkpointed through the session."""
    state = _restore(trainee, session)
    while state is None or not state.finished(trainee.schedule):
        epoch = 0 if state is None else state.epoch + 1
        started = time.monotonic()
        # Seeded anew every epoch, so that no generator's state has to survive a crash.
        torch.manual_seed(trainee.schedule.seed * 1_000_003 + epoch * 1_009 + session.rank)
        loss, users = _train_epoch(trainee, session, epoch) if trainee.schedule.epochs else (None, 0)
        users_per_second = users / (time.monotonic() - started)
        trainee.model.eval()
        with torch.no_grad():
            held_out = trainee.held_out_loss()
        state = _after(trainee, state, epoch, held_out)
        session.report(
            {
                "epoch": epoch,
                "loss": held_out if loss is None else loss,
                "held_out_loss": held_out,
                "best_epoch": state.best_epoch,
                "users_per_second": users_per_second,
                "seconds": time.monotonic() - started,
            },
            vars(state),
        )


def _restore(trainee: Trainee, session: Session) -> State | None:
    stored = session.restore()
    if stored is None:
        return None
    state = State(**stored)
    trainee.model.load_state_dict(state.model)
    trainee.optimiser.load_state_dict(state.optimiser)
    return state


def _train_epoch(trainee: Trainee, session: Session, epoch: int) -> tuple[float, int]:
    """The mean loss, and how many users all workers have taken."""
    trainee.model.train()
    total, users = torch.zeros(()), 0
    for step, batch in enumerate(trainee.batches(epoch, session.rank, session.world)):
        done = (epoch * trainee.steps + step) / (trainee.schedule.epochs * trainee.steps)
        for group in trainee.optimiser.param_groups:
            group["lr"] = trainee.schedule.rate(done)
        trainee.optimiser.zero_grad()
        total += trainee.backward(batch).detach().cpu()
        users += len(batch) * session.world
        _average_gradients(trainee.model, session.world)
        nn.utils.clip_grad_norm_(trainee.model.parameters(), 1.0)
        trainee.optimiser.step()
    return float(total) / trainee.steps, users


def _average_gradients(model: nn.Module, world: int) -> None:
    """One all-reduce of all gradients together; plain, so that a family may call backward as often as it likes."""
    if world == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world
    for parameter, part in zip(model.parameters(), torch.split(flat, [g.numel() for g in gradients]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def _after(trainee: Trainee, before: State | None, epoch: int, held_out: float) -> State:
    model = {name: tensor.detach().cpu().clone() for name, tensor in trainee.model.state_dict().items()}
    better = before is None or held_out < before.best_loss
    best = before.best if before is not None and not better else model
    return State(
        epoch=epoch,
        model=model,
        optimiser=trainee.optimiser.state_dict(),
        best=best,
        best_loss=held_out if better or before is None else before.best_loss,
        best_epoch=epoch if better or before is None else before.best_epoch,
    )
