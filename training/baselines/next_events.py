"""Training examples of the rankers that learn: a user as of an event, and the item of that event.

The items that describe a user come from before the event alone, so the answer is never among them.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from portrait.feature_repo.declaration.input_schema import FieldKind
from portrait.registry.progress import silent
from portrait.training.blocks.context import Rings, activity
from portrait.training.encoding.arrays import DAY_US, UNKNOWN, Float32, Int64
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.survey import survey
from portrait.training.runs.training_inputs import TrainingInputs

WINDOWS_DAYS = (7, 30, 180)
NEWEST = 50  # events that describe a user


@dataclass(frozen=True)
class Described:
    """n users as both rankers read them; bags are flat codes with the start of each user's."""

    items: Int64  # codes, user after user, oldest first
    starts: Int64  # [n]
    counts: Int64  # [n]
    picks: Int64
    pick_starts: Int64
    categories: Int64  # [n, fields] codes over all fields together; 0 where unknown
    dense: Float32  # [n, 12] logarithms of what was done in windows

    def __len__(self) -> int:
        return len(self.starts)


class Describer:
    """Reads users over the items, services and categories of the training users."""

    def __init__(self, inputs: TrainingInputs) -> None:
        found, counts = survey(inputs, silent)
        self.items = Vocabulary(found.items.values[: int((counts > 0).sum())])
        self.users_per_item: Int64 = counts[: len(self.items)]
        known = Vocabularies(self.items, found.services, found.actions, found.categories)
        self._batcher = Batcher(inputs.visible, known, onboarding=inputs.onboarding)
        self._fields = [f.name for f in self._batcher.fields if f.kind == FieldKind.CATEGORY]
        sizes = [len(found.categories[name]) for name in self._fields]
        self._offsets = np.cumsum([1, *sizes])
        self.categories = int(self._offsets[-1])
        self.fields = len(self._fields)

    def __call__(self, users: pa.Table, as_of: int | Int64) -> Described:
        """Users as of a time (one, or one each)."""
        arrays = self._batcher.arrays(users, as_of)
        known = arrays.events.item != UNKNOWN
        owner, item = arrays.events.user[known], arrays.events.item[known]
        lengths = np.bincount(owner, minlength=len(arrays))
        after = np.cumsum(lengths)[owner] - 1 - np.arange(len(owner))
        owner, item = owner[after < NEWEST], item[after < NEWEST]
        counts = np.minimum(lengths, NEWEST)
        picks = arrays.onboarding
        codes = [arrays.categories[name] for name in self._fields]
        categories = [np.where(c >= 0, c + at, 0) for c, at in zip(codes, self._offsets[:-1], strict=True)]
        rings = Rings(arrays, np.array(WINDOWS_DAYS, dtype=np.int64) * DAY_US)
        return Described(
            items=item,
            starts=np.cumsum(counts) - counts,
            counts=counts,
            picks=picks.item,
            pick_starts=np.searchsorted(picks.user, np.arange(len(arrays))),
            categories=np.column_stack(categories) if categories else np.zeros((len(arrays), 0), np.int64),
            dense=np.nan_to_num(activity(arrays, rings)).astype(np.float32),
        )


@dataclass(frozen=True)
class BagBatch:
    """b users as tensors for embedding bags."""

    items: Tensor
    starts: Tensor
    picks: Tensor
    pick_starts: Tensor
    categories: Tensor  # [b, fields]
    dense: Tensor  # [b, 12]


def batch_of(users: Described, rows: Int64, counts: Int64 | None = None) -> BagBatch:
    """The users of these rows, with only the oldest `counts` of their items where that is given."""
    most = users.counts[rows] if counts is None else counts
    pick_ends = np.append(users.pick_starts[1:], len(users.picks))[rows]
    items, starts = _take_slices(users.items, users.starts[rows], most)
    picks, pick_starts = _take_slices(users.picks, users.pick_starts[rows], pick_ends - users.pick_starts[rows])
    tensors = (items, starts, picks, pick_starts, users.categories[rows], users.dense[rows])
    return BagBatch(*map(torch.from_numpy, tensors))


def _take_slices(values: Int64, starts: Int64, lengths: Int64) -> tuple[Int64, Int64]:
    """(slices of the flat values in a row, start of each slice)."""
    begins = np.cumsum(lengths) - lengths
    places = np.repeat(starts - begins, lengths) + np.arange(int(lengths.sum()))
    return values[places], begins


def draw_examples(users: Described, rng: np.random.Generator, size: int) -> tuple[Int64, Int64, Int64]:
    """(rows, how many items come before, the item that follows), evenly over users with at least one item."""
    rows = rng.choice(np.flatnonzero(users.counts > 0), size)
    before = (rng.random(size) * users.counts[rows]).astype(np.int64)
    return rows, before, users.items[users.starts[rows] + before]
