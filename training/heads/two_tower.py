"""Two towers: an MLP over the user's vector, a map of item features, and their product ranks the items (CLUE)."""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.tensor_files import save_tensors
from portrait.training.heads.descent import Scale, descend
from portrait.training.heads.examples import Chosen, Items
from portrait.training.metrics.ranking import full_ranks, ndcg

FILE = "weights.safetensors"
WIDTH, SPACE = 128, 64
CHOOSE_BY = 1_000  # validation examples that are ranked every epoch, at most: more take gigabytes and add little
SAMPLE = 2048  # items that a training step ranks, beside those of its users; all are ranked where there are fewer


class Towers(nn.Module):
    """score(user, item) = MLP(vector) . map(item features) + weight * log popularity(item)."""

    def __init__(self, dimension: int, features: Tensor, log_popularity: Tensor) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Linear(dimension, WIDTH), nn.GELU(), nn.Linear(WIDTH, SPACE))
        self.item = nn.Linear(features.shape[1], SPACE, bias=False)
        self.popular = nn.Parameter(torch.ones(()))
        self.register_buffer("features", features)
        self.register_buffer("log_popularity", log_popularity)

    @classmethod
    def over(cls, items: Items, dimension: int) -> Self:
        """Fresh towers over items; their features come at deviation 1, absent ones as zeros."""
        filled = np.nan_to_num(items.features)
        scaled = torch.from_numpy(filled / (filled.std() + 1e-6))
        return cls(dimension, scaled, torch.from_numpy(items.popularity).float().add(1).log())

    def forward(self, vectors: Tensor, columns: Tensor | None = None) -> Tensor:
        """[n, items] scores, or only those of some items: int64 [columns]."""
        features, popularity = self.get_buffer("features"), self.get_buffer("log_popularity")
        if columns is not None:
            features, popularity = features[columns], popularity[columns]
        scores: Tensor = self.user(vectors) @ self.item(features).T + self.popular * popularity
        return scores

    def surprise(self, vectors: Tensor, item: Tensor) -> Tensor:
        """Scalar: how little the items [n] are expected, in nats, among all or an even sample of them."""
        items = len(self.get_buffer("features"))
        if items <= SAMPLE:
            return cross_entropy(self(vectors), item)
        drawn = torch.zeros(items, dtype=torch.bool)
        drawn[torch.randint(items, (SAMPLE,))] = True
        drawn[item] = True
        columns = drawn.nonzero()[:, 0]
        return cross_entropy(self(vectors, columns), torch.searchsorted(columns, item))


class TwoTowerModel:
    """Towers over raw vectors."""

    def __init__(self, towers: Towers) -> None:
        self._towers = towers

    @torch.inference_mode()
    def scores(self, vectors: Float32) -> Float32:
        """float32 [n, items] scores."""
        found: Float32 = self._towers(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))).numpy()
        return found

    def write(self, folder: Path) -> None:
        """One safetensors file, the items' features in it."""
        save_tensors({name: kept.numpy() for name, kept in self._towers.state_dict().items()}, folder / FILE)


class TwoTower:
    """The kind "two-tower"; the same whatever made the vectors."""

    examples = Chosen

    def fit(self, train: Chosen, validation: Chosen, seed: int) -> TwoTowerModel:
        """Fit to the epoch with the best nDCG@10 over all items, on the first CHOOSE_BY validation examples."""
        torch.manual_seed(seed)
        ranked = slice(CHOOSE_BY)
        towers, scale = Towers.over(train.items, train.vectors.shape[1]), Scale.from_vectors(train.vectors)
        vectors, items = torch.from_numpy(scale.apply(train.vectors)), torch.from_numpy(train.item)
        held, item, hidden = scale.apply(validation.vectors[ranked]), validation.item[ranked], validation.hidden[ranked]
        model = TwoTowerModel(towers)
        descend(
            towers,
            len(train),
            lambda rows: towers.surprise(vectors[rows], items[rows]),
            lambda: float(ndcg(full_ranks(model.scores(held), item, hidden)).mean()),
            seed,
        )
        scale.fold_into(towers.user[0])
        return model

    def load(self, folder: Path) -> TwoTowerModel:
        weights = load_file(folder / FILE)
        towers = Towers(weights["user.0.weight"].shape[1], weights["features"], weights["log_popularity"])
        towers.load_state_dict(weights)
        return TwoTowerModel(towers.eval())
