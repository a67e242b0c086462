"""The mean of item vectors: GUR's strongest plain baseline (arXiv 2403.00584, table 1), over events or over picks.

The item vectors are those of all modalities side by side, as the autoencoder has them, fitted on the same users.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from portrait.registry.errors import InvalidInput
from portrait.registry.progress import silent
from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.baselines.baseline import Suits, as_float32
from portrait.training.blocks.item_table import ItemTable
from portrait.training.blocks.prepare import fit_modalities, side_by_side
from portrait.training.encoding.arrays import UNKNOWN, Float32, Int64
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.runs.survey import survey
from portrait.training.runs.training_inputs import TrainingInputs


@dataclass(frozen=True)
class ItemVectors:
    """Item vectors of all modalities, with the reader of users over them."""

    batcher: Batcher
    table: ItemTable
    vectors: Float32  # [items, dimensions of all modalities], NaN where an item lacks one

    def of_items(self, keys: pa.Array) -> Float32:
        """[n, dimensions] of item keys; NaN where nothing is known."""
        nothing = np.full((1, self.vectors.shape[1]), np.nan, np.float32)
        found: Float32 = np.concatenate([self.vectors, nothing])[self.batcher.items.encode(keys)]  # unknown is -1
        return found

    def mean(self, owner: Int64, item: Int64, users: int) -> Float32:
        """[users, dimensions] mean over the bag entries that a modality knows; zeros where there are none."""
        known = item != UNKNOWN
        sums = self.table.sums(item[known], owner[known], users)
        widths = self.table.widths
        vectors, counts = sums[:, : sum(widths)], sums[:, sum(widths) :]
        return as_float32(vectors / np.maximum(np.repeat(counts, widths, axis=1), 1))


def item_vectors(inputs: TrainingInputs, seed: int) -> ItemVectors:
    """Fit the modality encoders on the users and catalogue; raises InvalidInput when no item gets a vector."""
    plain = replace(inputs, schema=replace(inputs.schema, profile=(), team=()), exclude=())
    vocabularies, users_per_item = survey(plain, silent)
    modalities, _ = fit_modalities(plain, AutoencoderConfig(seed=seed), vocabularies, users_per_item, silent)
    if not modalities:
        raise InvalidInput("no item has a vector: ingest more events, or items with `text` or a vector_ column")
    vectors = side_by_side([m.vectors for m in modalities])
    table = ItemTable(tuple(m.dimension for m in modalities), vectors)
    known = Vocabularies(vocabularies.items, vocabularies.services, vocabularies.actions)
    return ItemVectors(Batcher(plain.schema, known, onboarding=True), table, vectors)


@dataclass(frozen=True)
class MeanOfEvents:
    """Means over all events of the history."""

    items: ItemVectors

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        arrays = self.items.batcher.arrays(users, as_of)
        return self.items.mean(arrays.events.user, arrays.events.item, len(arrays))


@dataclass(frozen=True)
class MeanOfPicks:
    """Means over what a user picked at sign-up."""

    items: ItemVectors

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        arrays = self.items.batcher.arrays(users, as_of)
        return self.items.mean(arrays.onboarding.user, arrays.onboarding.item, len(arrays))


class MeanItems:
    """Average of the vectors of a user's items."""

    name = "mean-items"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> MeanOfEvents:
        return MeanOfEvents(item_vectors(inputs, seed))


class MeanOnboarding:
    """Average of the vectors of a user's onboarding picks."""

    name = "mean-onboarding"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> MeanOfPicks:
        return MeanOfPicks(item_vectors(inputs, seed))
