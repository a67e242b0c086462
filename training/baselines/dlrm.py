"""DLRM: dense features and embeddings, their pairwise dot products, and an MLP that scores an item.

Naumov et al., "Deep learning recommendation model for personalization and recommendation systems" (2019, arXiv
1906.00091): a bottom MLP for the dense features, one embedding a sparse feature, all pairwise dot products, a top MLP;
cross-entropy of what happened against drawn items.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding_bag

from portrait.training.baselines.next_events import BagBatch, Describer, batch_of, draw_examples
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.training_inputs import TrainingInputs

DIMENSION = 32
BATCH, STEPS, RATE = 512, 3000, 2e-3
NEGATIVES = 4  # for each event
PAIRS = 200_000  # (user, item) scored at once


class DlrmModel(nn.Module):
    """Bottom MLP, embeddings, interactions, top MLP."""

    def __init__(self, describer: Describer, dense: int) -> None:
        super().__init__()
        items, fields = len(describer.items), describer.fields
        self.bottom = nn.Sequential(nn.Linear(dense, 64), nn.ReLU(), nn.Linear(64, DIMENSION), nn.ReLU())
        self.had = nn.Embedding(items, DIMENSION)
        self.picked = nn.Embedding(items, DIMENSION)
        self.category = nn.Embedding(describer.categories, DIMENSION, padding_idx=0)
        self.item = nn.Embedding(items, DIMENSION)
        self.bias = nn.Embedding(items, 1)
        for table in (self.had, self.picked, self.item):
            nn.init.normal_(table.weight, std=DIMENSION**-0.5)
        nn.init.zeros_(self.bias.weight)
        vectors = 4 + fields  # dense, had, picked, the item, and one a profile field
        self.top = nn.Sequential(nn.Linear(DIMENSION + vectors * (vectors - 1) // 2, 64), nn.ReLU(), nn.Linear(64, 1))
        self.register_buffer("pairs", torch.triu_indices(vectors, vectors, offset=1))

    def users(self, batch: BagBatch) -> Tensor:
        """[b, 3 + fields, 32] vectors of a user, the bottom MLP's output first."""
        had = embedding_bag(batch.items, self.had.weight, batch.starts, mode="mean")
        picked = embedding_bag(batch.picks, self.picked.weight, batch.pick_starts, mode="mean")
        vectors = torch.stack([self.bottom(batch.dense), had, picked], dim=1)
        return torch.cat([vectors, self.category(batch.categories)], dim=1)

    def forward(self, users: Tensor, item: Tensor) -> Tensor:
        """Logits [b] of users [b, 3 + fields, 32] and an item [b] each."""
        vectors = torch.cat([users, self.item(item)[:, None]], dim=1)
        products = vectors @ vectors.transpose(1, 2)
        left, right = self.get_buffer("pairs")
        joined = torch.cat([users[:, 0], products[:, left, right]], dim=1)
        return cast(Tensor, self.top(joined)[:, 0] + self.bias(item)[:, 0])


@dataclass(frozen=True)
class DlrmRanker:
    """The fitted model with the reader of its users."""

    describer: Describer
    model: DlrmModel

    @property
    def items(self) -> Vocabulary:
        return self.describer.items

    @torch.inference_mode()
    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        described, items = self.describer(users, as_of), len(self.items)
        vectors = self.model.users(batch_of(described, np.arange(len(described))))
        found = np.empty((len(described), items), np.float32)
        step = max(PAIRS // items, 1)
        for start in range(0, len(described), step):
            part = vectors[start : start + step]
            each = part.repeat_interleave(items, dim=0)
            found[start : start + step] = self.model(each, torch.arange(items).repeat(len(part))).view(-1, items)
        return found


class Dlrm:
    """A deep click model."""

    name = "dlrm"

    def fit(self, inputs: TrainingInputs, seed: int) -> DlrmRanker:
        describer = Describer(inputs)
        users = describer(pa.concat_tables(inputs.tables()), inputs.as_of_us)
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = DlrmModel(describer, users.dense.shape[1])
        optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
        for _ in range(STEPS):
            rows, before, item = draw_examples(users, rng, BATCH)
            optimiser.zero_grad()
            torch.autograd.backward(_loss(model, batch_of(users, rows, before), item, rng))
            optimiser.step()
        return DlrmRanker(describer, model.eval())


def _loss(model: DlrmModel, batch: BagBatch, item: Int64, rng: np.random.Generator) -> Tensor:
    drawn = rng.integers(len(model.bias.weight), size=len(item) * NEGATIVES)
    users = model.users(batch)
    asked = torch.cat([users, users.repeat_interleave(NEGATIVES, dim=0)])
    truth = torch.cat([torch.ones(len(item)), torch.zeros(len(drawn))])
    return binary_cross_entropy_with_logits(model(asked, torch.from_numpy(np.concatenate([item, drawn]))), truth)
