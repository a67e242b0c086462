"""The autoencoder's part of the training loop: batches of rows, corruption, loss."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.autoencoder.model import Autoencoder
from portrait.training.blocks.blocks import BlockKind
from portrait.training.blocks.prepare import PreparedRows
from portrait.training.runs.training_loop import Schedule

MAX_HELD_OUT = 20_000


class AutoencoderTrainee:
    """Rows come memory-mapped from one file; a batch is a random draw of them."""

    def __init__(self, prepared: PreparedRows, config: AutoencoderConfig, device: torch.device) -> None:
        users, blocks = len(prepared.rows), prepared.layout.blocks
        torch.manual_seed(config.seed)
        self.config, self.device, self.rows = config, device, prepared.rows
        self.model = Autoencoder(blocks, config.dimension, config.hidden)
        for name, values in prepared.standardisation.items():
            self.model.get_buffer(name).copy_(torch.from_numpy(values))
        self.model.to(device)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), weight_decay=config.weight_decay)
        self.schedule = Schedule(config.epochs, config.patience, config.learning_rate, config.seed)
        self.behaviour = torch.tensor([block.behaviour for block in blocks], device=device)
        self.modalities = [name for name, _ in prepared.layout.modalities]
        places = [self.modalities.index(block.modality) if block.modality else -1 for block in blocks]
        self.modality = torch.tensor(places, device=device)
        weights = [config.numbers_weight if block.kind == BlockKind.NUMBERS else 1.0 for block in blocks]
        self.weights = torch.tensor(weights, device=device)
        order = np.random.default_rng(config.seed).permutation(users)
        aside = min(max(int(users * config.held_out), 1), MAX_HELD_OUT)
        self.held_out, self.training = np.sort(order[:aside]), order[aside:]
        self.batch = min(config.batch_size, len(self.training))
        steps = len(self.training) // self.batch
        self.passes = -(-config.epoch_steps // steps)
        self.steps = steps * self.passes

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Tensor]:
        """Random rows without replacement within a pass; each worker takes its share of every batch."""
        rng = np.random.default_rng([self.config.seed, epoch])
        for _ in range(self.passes):
            order = rng.permutation(self.training)
            for start in range(0, len(order) - self.batch + 1, self.batch):
                yield self._read(np.sort(order[start : start + self.batch])[rank::world])

    def backward(self, batch: Tensor) -> Tensor:
        """Weighted mean of the blocks' losses, so that no block drowns another."""
        loss = self._loss(batch, None)
        torch.autograd.backward(loss)
        return loss

    def held_out_loss(self) -> float:
        """Mean loss of the held-out users, with the same corruption every time, so that epochs compare."""
        generator = torch.Generator().manual_seed(self.config.seed)
        chunks = [self.held_out[start : start + 4096] for start in range(0, len(self.held_out), 4096)]
        losses = [float(self._loss(self._read(chunk), generator)) * len(chunk) for chunk in chunks]
        return sum(losses) / len(self.held_out)

    def _loss(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(len(rows), self.config.dimension, generator=generator) * self.config.latent_noise
        losses = self.model.losses(rows, self._corruption(len(rows), generator), noise.to(self.device))
        weights = self.weights.where(losses.isfinite(), torch.nan)
        return (losses * weights).nansum() / weights.nansum()

    def _corruption(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """[rows, blocks] marks of the blocks to hide: some at random; all behaviour of some users, as if they were new;
        and all modalities but one of others, as if their items were new and had only a text.
        """
        blocks = torch.rand(rows, len(self.behaviour), generator=generator) < self.config.block_dropout
        cold, single = torch.rand(2, rows, 1, generator=generator) < self.config.cold_start
        kept = torch.randint(max(len(self.modalities), 1), (rows, 1), generator=generator)
        others = (self.modality >= 0) & (self.modality != kept.to(self.device))
        hidden: Tensor = blocks.to(self.device) | (cold.to(self.device) & self.behaviour)
        hidden |= single.to(self.device) & others
        return hidden

    def _read(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(self.rows[places]).to(self.device)
