"""LightFM-style hybrid: a user is the sum of the embeddings of its features, an item likewise.

Kula, "Metadata embeddings for user and item cold-start recommendations" (2015, arXiv 1507.08439). Features of a user
are the items so far, the onboarding picks and the profile's categories; of an item, itself, its service and the words
of its text and tags. Loss: WARP (Weston, Bengio & Usunier, IJCAI'11), with the worst of a fixed number of negatives
in the place of sampling until one violates the margin; BPR (Rendle et al., UAI'09) is the same with one negative.

The `lightfm` package is not used: it has had no release since 2023 and no wheels.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from portrait.training.baselines.next_events import BagBatch, Describer, batch_of, draw_examples
from portrait.training.encoding.arrays import UNKNOWN, Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary, catalogue_keys
from portrait.training.modality.text import documents
from portrait.training.runs.training_inputs import TrainingInputs

DIMENSION = 64
BATCH, STEPS, RATE, DECAY = 512, 3000, 5e-3, 1e-6
NEGATIVES = 20
MARGIN = 1.0
WORDS = 20_000
CHUNK = 1024


class HybridModel(nn.Module):
    """score(user, item) = user . item + bias of the item."""

    def __init__(self, describer: Describer, words: tuple[Int64, Int64, int]) -> None:
        super().__init__()
        items = len(describer.items)
        flat, starts, size = words
        self.as_feature = nn.Embedding(items, DIMENSION)  # of a user who had the item
        self.picked = nn.Embedding(items, DIMENSION)
        self.category = nn.Embedding(describer.categories, DIMENSION, padding_idx=0)
        self.item = nn.Embedding(items, DIMENSION)
        self.word = nn.Embedding(size + 1, DIMENSION)
        self.bias = nn.Embedding(items, 1)
        for table in (self.as_feature, self.picked, self.category, self.item, self.word):
            nn.init.normal_(table.weight, std=0.5 / DIMENSION)
        nn.init.zeros_(self.bias.weight)
        self.register_buffer("words", torch.from_numpy(flat))
        self.register_buffer("word_starts", torch.from_numpy(starts))

    def users(self, batch: BagBatch) -> Tensor:
        """float32 [b, 64] vectors of the users."""
        had = embedding_bag(batch.items, self.as_feature.weight, batch.starts, mode="mean")
        picked = embedding_bag(batch.picks, self.picked.weight, batch.pick_starts, mode="mean")
        return cast(Tensor, had + picked + self.category(batch.categories).sum(dim=1))

    def item_rows(self) -> Tensor:
        """float32 [items, 64] vectors of all items."""
        words = embedding_bag(self.get_buffer("words"), self.word.weight, self.get_buffer("word_starts"), mode="mean")
        return self.item.weight + words


@dataclass(frozen=True)
class Hybrid:
    """The fitted model with the reader of its users."""

    describer: Describer
    model: HybridModel

    @property
    def items(self) -> Vocabulary:
        return self.describer.items

    @torch.inference_mode()
    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        described = self.describer(users, as_of)
        vectors = self.model.users(batch_of(described, np.arange(len(described))))
        found: Float32 = (vectors @ self.model.item_rows().T + self.model.bias.weight.T).numpy()
        return found


class LightFm:
    """Hybrid matrix factorisation with WARP."""

    name = "lightfm"

    def fit(self, inputs: TrainingInputs, seed: int) -> Hybrid:
        describer = Describer(inputs)
        users = describer(pa.concat_tables(inputs.tables()), inputs.as_of_us)
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = HybridModel(describer, _words(inputs.catalogue, describer.items))
        optimiser = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=DECAY)
        for _ in range(STEPS):
            rows, before, item = draw_examples(users, rng, BATCH)
            negatives = rng.integers(len(describer.items), size=NEGATIVES)  # shared by the batch: one matrix product
            optimiser.zero_grad()
            torch.autograd.backward(_warp(model, batch_of(users, rows, before), item, negatives))
            optimiser.step()
        return Hybrid(describer, model.eval())


def _warp(model: HybridModel, batch: BagBatch, item: Int64, negatives: Int64) -> Tensor:
    """Hinge at the violating negatives, weighed by the logarithm of the rank that their share stands for."""
    users, rows, bias = model.users(batch), model.item_rows(), model.bias.weight[:, 0]
    own = (users * rows[item]).sum(dim=1) + bias[item]
    others = users @ rows[negatives].T + bias[negatives]
    slack = (MARGIN + others - own[:, None]).clamp(min=0)
    same = torch.from_numpy(item[:, None] == negatives[None])
    slack = slack.masked_fill(same, 0)
    share = (slack > 0).float().mean(dim=1)
    rank = torch.log1p(share * len(rows)).detach()
    violating = (slack > 0).float().sum(dim=1).clamp(min=1)
    return (rank * slack.sum(dim=1) / violating).mean()


def _words(catalogue: pa.Table, items: Vocabulary) -> tuple[Int64, Int64, int]:
    """(codes of the words of all items in a row, start of each item's, number of distinct words)."""
    from sklearn.feature_extraction.text import CountVectorizer

    codes = items.encode(catalogue_keys(catalogue))
    mine = catalogue.filter(pa.array(codes != UNKNOWN))
    texts = [""] * len(items)
    for code, text in zip(codes[codes != UNKNOWN].tolist(), documents(mine) if len(mine) else [], strict=True):
        texts[code] = text
    if not any(text.strip() for text in texts):
        return np.empty(0, np.int64), np.zeros(len(items), np.int64), 0
    found = CountVectorizer(max_features=WORDS, binary=True).fit_transform(texts).tocsr()
    return found.indices.astype(np.int64), found.indptr[:-1].astype(np.int64), found.shape[1]
