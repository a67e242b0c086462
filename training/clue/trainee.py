"""CLUE's part of the training loop: batches of two views a user, contrast, and the loss on one set of candidates."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from portrait.registry.errors import InvalidInput
from portrait.training.clue import objective
from portrait.training.clue.batch import Batch, Sequences
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.gradient_cache import encode, step
from portrait.training.clue.model import Clue, Shape
from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.prepare import PreparedSequences
from portrait.training.clue.views import Views
from portrait.training.encoding.arrays import Int64
from portrait.training.runs.training_loop import Schedule

BETAS, EPSILON = (0.9, 0.98), 1e-6  # of AdamW: LMRec
CHUNK = 32_768  # tokens or events that are encoded at once where no graph is kept
HELD_OUT = 7  # seed that draws the held-out users and their views: the same for every config


class ClueTrainee:
    """Sequences come memory-mapped; a batch is a random draw of users, every distinct item of which is encoded once."""

    def __init__(self, prepared: PreparedSequences, config: ClueConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self._prepared = config, device, prepared
        name = ObjectiveName(config.objective)
        categories = 0 if prepared.categories is None else int(prepared.categories.max()) + 1
        self.clue = Clue(shape_of(config, len(prepared.tokenizer), len(prepared.vocabularies.actions)))
        self.objective = objective.build(name, config.dimension, categories)
        # One module, as the objective may have weights of its own.
        self.model = nn.ModuleDict({"clue": self.clue, "objective": self.objective}).to(device)
        self._clusters = categories
        # Only matrices and embeddings decay: norms and the temperature have no size to keep small.
        decaying = {True: config.shape.weight_decay, False: 0.0}
        groups = [
            {"params": [p for p in self.model.parameters() if (p.ndim > 1) == many], "weight_decay": decay}
            for many, decay in decaying.items()
        ]
        self.optimiser = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)
        self.schedule = Schedule(config.epochs, config.patience, config.rate, config.seed)
        self.views = Views(prepared.histories, name)
        self.held_out, self.training = split_held_out(self.views.users, config)
        if config.most_users:
            self.training = self.training[: config.most_users]
        self.users_per_step = min(config.users_per_step, len(self.training))
        passed = len(self.training) // self.users_per_step
        self.passes = -(-config.epoch_steps // passed)
        self.steps = passed * self.passes

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Batch]:
        """Random users without replacement within a pass; each worker takes an equal share of every batch.

        Raises InvalidInput when there are more workers than users of a step.
        """
        if world > self.users_per_step:
            raise InvalidInput(f"{self.users_per_step} users a step are too few for {world} workers: take fewer")
        rng = np.random.default_rng([self.config.seed, epoch])
        for _ in range(self.passes):
            order = rng.permutation(self.training)
            for start in range(0, len(order) - self.users_per_step + 1, self.users_per_step):
                users = order[start : start + self.users_per_step]
                yield self._batch(users, rng, slice(rank, len(users) // world * world, world))

    def backward(self, batch: Batch) -> Tensor:
        """The loss of all workers' users; gradients are cached where the config has a chunk."""
        autocast = self.device.type == "cuda"
        return step(self.clue, self.objective, batch, self.config.chunk or None, _world(), autocast)

    def held_out_loss(self) -> float:
        """The loss among the candidates, with the same views every time, so that epochs and runs compare."""
        batch = self._batch(self.held_out, np.random.default_rng(HELD_OUT), slice(None))
        views = self._encoded(batch)
        return float(self.objective(views, self.clue.temperature(), batch.users, batch.categories))

    def encoded(self, first: Sequences, second: Sequences) -> Tensor:
        """[n, 2, dimension] of these two views of n users, as the weights are now."""
        return self._encoded(self._of_views(first, second))

    def _encoded(self, batch: Batch) -> Tensor:
        return encode(self.clue, batch, self.config.chunk or CHUNK)[1]

    def _batch(self, users: Int64, rng: np.random.Generator, share: slice) -> Batch:
        """The share of these users; views are drawn for all of them, so that the workers' generators keep step."""
        first, second = self.views.draw(users, rng)
        return self._of_views(first[share], second[share])

    def _of_views(self, first: Sequences, second: Sequences) -> Batch:
        items, (first_places, second_places) = _distinct(first.items, second.items)
        tokens = torch.from_numpy(self._prepared.tokens[items.numpy()])
        tokens = tokens[:, : max(int((tokens > 0).any(dim=0).sum()), 1)]
        batch = Batch(
            tokens=tokens,
            first=replace(first, items=first_places),
            second=replace(second, items=second_places),
            categories=self._categories(first, second),
        )
        return batch.to(self.device)

    def _categories(self, first: Sequences, second: Sequences) -> Tensor | None:
        """[n, 2, categories] shares of the items of both views."""
        if self._prepared.categories is None:
            return None
        of_item = torch.from_numpy(np.append(self._prepared.categories, self._clusters))  # place -1: padding
        counts = [
            torch.zeros(len(view), self._clusters + 1).scatter_add(1, of_item[view.items], torch.ones(view.items.shape))
            for view in (first, second)
        ]
        shares = torch.stack(counts, dim=1)[..., :-1]
        return shares / shares.sum(dim=2, keepdim=True).clamp_min(1)


def split_held_out(users: Int64, config: ClueConfig) -> tuple[Int64, Int64]:
    """(held-out users, training users): the same for every seed, the latter in a fixed random order."""
    shuffled = np.random.default_rng(HELD_OUT).permutation(users)
    aside = min(max(int(len(users) * config.held_out), 2), config.candidates, len(users) - 2)
    return np.sort(shuffled[:aside]), shuffled[aside:]


def shape_of(config: ClueConfig, vocabulary: int, actions: int) -> Shape:
    """The shape of the model of a config."""
    return Shape.from_size(
        config.shape,
        vocabulary=vocabulary,
        text_length=config.text_length,
        actions=actions,
        sequence_length=config.sequence_length,
        dimension=config.dimension,
    )


def _distinct(*sequences: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The distinct item codes of padded sequences, and the sequences with the codes' places among them instead."""
    flat = torch.cat([one.flatten() for one in sequences])
    codes, places = torch.unique(flat, return_inverse=True)
    padding = int((codes[:1] < 0).sum())  # the code -1 comes first, where there is any
    parts = (places - padding).split([one.numel() for one in sequences])
    return codes[padding:], [part.view_as(one) for part, one in zip(parts, sequences, strict=True)]


def _world() -> int:
    from torch import distributed

    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
