"""A light head that ranks items by a frozen user vector: CLUE's "simple MLP", the same for whatever made the vector."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.arrays import Bool, Float32, Int64
from training.evaluation.ranking import full_ranks, ndcg

WIDTH, SPACE = 128, 64
BATCH, EPOCHS, PATIENCE = 256, 60, 6
RATE, DECAY = 1e-3, 1e-2


@dataclass(frozen=True)
class RankingData:
    """User vectors float32 [n, d], the column of the item of each, and what is not to be ranked [n, items]."""

    vectors: Float32
    item: Int64
    hidden: Bool


class RankingHead(nn.Module):
    """score(user, item) = MLP(vector) . map(item features) + bias(item)."""

    def __init__(self, dimension: int, features: Tensor, popularity: Tensor) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Linear(dimension, WIDTH), nn.GELU(), nn.Linear(WIDTH, SPACE))
        self.item = nn.Linear(features.shape[1], SPACE, bias=False)
        self.popular = nn.Parameter(torch.ones(()))
        self.register_buffer("features", features)
        self.register_buffer("log_popularity", popularity.add(1).log())

    def forward(self, vectors: Tensor) -> Tensor:
        """[n, items] scores."""
        features, popularity = self.get_buffer("features"), self.get_buffer("log_popularity")
        scores: Tensor = self.user(vectors) @ self.item(features).T + self.popular * popularity
        return scores


def fit_head(
    train: RankingData, validation: RankingData, features: Float32, popularity: Int64, seed: int
) -> RankingHead:
    """The head of the epoch with the best nDCG@10 over all items on the validation users.

    `features` float32 [items, f] are the same for every kind of user vector; vectors are standardised by the training
    users, which costs no information and lets one learning rate do.
    """
    torch.manual_seed(seed)
    head = RankingHead(train.vectors.shape[1], _scaled(features), torch.from_numpy(popularity).float())
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    mean, deviation = train.vectors.mean(axis=0), train.vectors.std(axis=0) + 1e-6
    vectors, items = torch.from_numpy((train.vectors - mean) / deviation), torch.from_numpy(train.item)
    best, best_score, since = deepcopy(head.state_dict()), -1.0, 0
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        order = torch.randperm(len(items), generator=generator)
        for start in range(0, len(items), BATCH):
            rows = order[start : start + BATCH]
            optimiser.zero_grad()
            torch.autograd.backward(cross_entropy(head(vectors[rows]), items[rows]))
            optimiser.step()
        scores = scores_of(head, (validation.vectors - mean) / deviation)
        score = float(ndcg(full_ranks(scores, validation.item, validation.hidden)).mean())
        since = 0 if score > best_score else since + 1
        if not since:
            best, best_score = deepcopy(head.state_dict()), score
        if since == PATIENCE:
            break
    head.load_state_dict(best)
    # The standardisation belongs to the head: fold it into the first layer.
    first = head.user[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight.div_(torch.from_numpy(deviation))
        first.bias.sub_(first.weight @ torch.from_numpy(mean))
    return head


@torch.inference_mode()
def scores_of(head: RankingHead, vectors: Float32) -> Float32:
    """float32 [n, items]."""
    found: Float32 = head(torch.from_numpy(vectors)).numpy()
    return found


def _scaled(features: Float32) -> Tensor:
    """Absent features as zeros, the others at deviation 1."""
    filled = np.nan_to_num(features)
    return torch.from_numpy(filled / (filled.std() + 1e-6))
