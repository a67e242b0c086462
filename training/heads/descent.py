"""Gradient descent of a small network, stopped by what the validation users say."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

BATCH, EPOCHS, PATIENCE = 256, 60, 4
RATE, DECAY = 2e-3, 1e-2


def descend(
    network: nn.Module, rows: int, loss: Callable[[Tensor], Tensor], score: Callable[[], float], seed: int
) -> None:
    """Leave the network with the weights of the epoch that scores best; higher is better, and the earlier one of two.

    `loss` is given the places of a batch among the `rows` training rows.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    best, best_score, since = deepcopy(network.state_dict()), float("-inf"), 0
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        network.train()
        order = torch.randperm(rows, generator=generator)
        for start in range(0, rows, BATCH):
            optimiser.zero_grad()
            torch.autograd.backward(loss(order[start : start + BATCH]))
            optimiser.step()
        network.eval()
        reached = score()
        since = 0 if reached > best_score else since + 1
        if not since:
            best, best_score = deepcopy(network.state_dict()), reached
        if since == PATIENCE:
            break
    network.load_state_dict(best)
    network.eval()
