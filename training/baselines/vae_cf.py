"""VAE-CF: a variational autoencoder of the user's bag with a multinomial likelihood.

Mult-VAE (Liang, Krishnan, Hoffman & Jebara, WWW'18): bag at length 1 -> dropout -> 600 tanh -> mean and variance of
200 -> 600 tanh -> softmax over items; the weight of the KL term grows to 0.2. A user's features are the mean.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding_bag, log_softmax

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.baseline import Suits
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.training_inputs import TrainingInputs

HIDDEN, DIMENSION = 600, 200
DROPOUT = 0.5
KL_WEIGHT = 0.2
BATCH, EPOCHS, RATE = 256, 25, 1e-3


class MultVae(nn.Module):
    """Encoder and decoder of Mult-VAE."""

    def __init__(self, items: int) -> None:
        super().__init__()
        first = nn.Linear(items, HIDDEN)
        self.rows = nn.Parameter(first.weight.detach().T.contiguous())  # [items, 600]: only a bag's own are touched
        self.bias = nn.Parameter(first.bias.detach())
        self.encoder = nn.Sequential(nn.Tanh(), nn.Linear(HIDDEN, 2 * DIMENSION))
        self.decoder = nn.Sequential(nn.Linear(DIMENSION, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, items))

    def encode(self, bags: sparse.csr_array) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, [n, 200] each, of bags [n, items] of zeros and ones."""
        items, starts = (torch.from_numpy(part.astype(np.int64)) for part in (bags.indices, bags.indptr[:-1]))
        sizes = np.diff(bags.indptr)
        weights = torch.from_numpy(np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes).astype(np.float32))
        weights = dropout(weights, DROPOUT, self.training)
        summed = embedding_bag(items, self.rows, starts, mode="sum", per_sample_weights=weights)
        mean, spread = self.encoder(summed + self.bias).chunk(2, dim=1)
        return mean, spread

    def loss(self, bags: sparse.csr_array, kl_weight: float) -> Tensor:
        """Negative evidence lower bound in nats, the mean over users."""
        mean, spread = self.encode(bags)
        code = mean + torch.randn_like(mean) * (spread / 2).exp()
        logs = log_softmax(self.decoder(code), dim=1)
        owner = np.repeat(np.arange(bags.shape[0]), np.diff(bags.indptr))
        own = logs[torch.from_numpy(owner), torch.from_numpy(bags.indices.astype(np.int64))]
        likelihood = torch.zeros(bags.shape[0]).index_add(0, torch.from_numpy(owner), own)
        kl = -0.5 * (1 + spread - mean**2 - spread.exp()).sum(dim=1)
        found: Tensor = (kl_weight * kl - likelihood).mean()
        return found


@dataclass(frozen=True)
class VaeFeatures:
    """Means of the code [n, 200]; the decoder ranks."""

    bags: Bags
    model: MultVae

    @property
    def items(self) -> Vocabulary:
        return self.bags.items

    @torch.inference_mode()
    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        bags = self.bags.had(users, as_of)
        found: Float32 = self.model.encode(bags)[0].numpy()
        return found

    @torch.inference_mode()
    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """float32 [n, items] logits of the softmax."""
        found: Float32 = self.model.decoder(torch.from_numpy(self.matrix(users, as_of))).numpy()
        return found


class VaeCf:
    """Mult-VAE with the settings of its paper."""

    name = "vae-cf"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> VaeFeatures:
        bags = Bags.over(inputs)
        rows = bags.training(inputs)
        rows = rows[np.flatnonzero(np.diff(rows.indptr))]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = MultVae(len(bags.items))
            _train(model, rows, torch.Generator().manual_seed(seed))
        return VaeFeatures(bags, model.eval())


def _train(model: MultVae, rows: sparse.csr_array, generator: torch.Generator) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    users = rows.shape[0]
    steps = EPOCHS * -(-users // BATCH)
    step = 0
    for _ in range(EPOCHS):
        order = torch.randperm(users, generator=generator).numpy()
        for start in range(0, users, BATCH):
            optimiser.zero_grad()
            # The KL term comes in over the first half: at once it would drive the code to nothing (section 2.2.2).
            weight = KL_WEIGHT * min(2 * step / steps, 1)
            torch.autograd.backward(model.loss(sparse.csr_array(rows[order[start : start + BATCH]]), weight))
            optimiser.step()
            step += 1
