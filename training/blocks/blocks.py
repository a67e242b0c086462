"""The row x_u of a user: blocks of pooled item vectors, onboarding, profile and context (GUR section 3).

A row is float32 with NaN where a block is absent; the model standardises rows and handles absent blocks.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Any, Self

import numpy as np

from portrait.training.blocks.context import ACTIVITY, Rings, activity, log, moments_after, recency, rhythm, shares
from portrait.training.blocks.item_table import ItemTable
from portrait.training.blocks.regularity import PER_CODE, WIDTH, per_code, regularity
from portrait.training.encoding.arrays import DAY_US, NO_TIME, UNKNOWN, Float32, Float64, Int64, UserArrays

LARGEST = np.finfo(np.float32).max
LEAST = 2.0**-24  # lighter events are lost in float32 beside the newest one's weight of 1


class Pooling(StrEnum):
    """The pooling of the vectors of n items into one block."""

    MEAN = "mean"  # sum / n, as in GUR
    ROOT = "root"  # sum / sqrt(n): a mean of few items is mostly noise, and is kept as small as it is uncertain


class BlockKind(StrEnum):
    """The kind of a block, which decides how it is standardised and scored."""

    VECTOR = "vector"  # centred, one scale for the block: directions keep their relative weight
    NUMBERS = "numbers"  # centred and scaled each
    CATEGORY = "category"  # one column with a code


@dataclass(frozen=True)
class Block:
    """Columns of the row that are present or absent together."""

    name: str
    kind: BlockKind
    width: int
    behaviour: bool = False  # comes from events: a new user has none
    categories: int = 0  # size of the vocabulary of a category
    modality: str = ""  # of a block of pooled item vectors, and
    span: str = ""  # the events or picks that it pools
    field: bool = False  # of a profile or a team's view: known as it is now, not as it was


@dataclass(frozen=True)
class Layout:
    """The blocks of a row, in order, and what their inner columns stand for."""

    windows_days: tuple[int, ...]
    modalities: tuple[tuple[str, int], ...]  # name and dimension, in the order of the item table's columns
    services: int
    actions: int
    onboarding: bool
    categories: tuple[tuple[str, int], ...]  # column and size of its vocabulary
    numbers: tuple[str, ...]
    vectors: tuple[tuple[str, int], ...]  # column and length
    pooling: Pooling = Pooling.MEAN  # artifacts from before this field have it
    latest_decay: float = 0.0  # weight of a moment beside the one after it; 0: no blocks of the latest items
    all_time: bool = False  # pooled vectors over all events, however old
    regularity: bool = False  # blocks of regularity, and of each action and service

    @property
    def blocks(self) -> tuple[Block, ...]:
        shares = self.services + self.actions
        spans = [*(f"{days}d" for days in self.windows_days), *(["all"] if self.all_time else [])]
        pooled = [
            Block(f"{modality}.{span}", BlockKind.VECTOR, width, behaviour=True, modality=modality, span=span)
            for modality, width in self.modalities
            for span in spans
        ]
        codes = [("actions", self.actions), ("services", self.services)]
        each = [
            Block(name, BlockKind.NUMBERS, PER_CODE * size, behaviour=True)
            for name, size in codes
            if self.regularity and size > 1
        ]
        latest = [
            Block(f"{m}.latest", BlockKind.VECTOR, w, behaviour=True, modality=m, span="latest")
            for m, w in self.modalities
            if self.latest_decay
        ]
        picked = [
            Block(f"{m}.onboarding", BlockKind.VECTOR, width, modality=m, span="onboarding")
            for m, width in self.modalities
            if self.onboarding
        ]
        return (
            *pooled,
            *latest,
            *picked,
            Block("recency", BlockKind.NUMBERS, 2, behaviour=True),
            Block("activity", BlockKind.NUMBERS, len(ACTIVITY) * (len(self.windows_days) + 1), behaviour=True),
            Block("rhythm", BlockKind.NUMBERS, 24 + 7, behaviour=True),
            *([Block("mix", BlockKind.NUMBERS, shares, behaviour=True)] if shares else []),
            *([Block("regularity", BlockKind.NUMBERS, WIDTH, behaviour=True)] if self.regularity else []),
            *each,
            Block("tenure", BlockKind.NUMBERS, 1),
            *(Block(name, BlockKind.CATEGORY, 1, categories=size, field=True) for name, size in self.categories),
            *(Block(name, BlockKind.NUMBERS, 2, field=True) for name in self.numbers),
            *(Block(name, BlockKind.VECTOR, length, field=True) for name, length in self.vectors),
        )

    @property
    def width(self) -> int:
        return sum(block.width for block in self.blocks)

    @property
    def item_widths(self) -> tuple[int, ...]:
        """The vector length of each modality."""
        return tuple(width for _, width in self.modalities)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        pairs = {k: tuple(tuple(pair) for pair in document[k]) for k in ("modalities", "categories", "vectors")}
        singles = {k: tuple(document[k]) for k in ("windows_days", "numbers")}
        pooling = Pooling(document.get("pooling", Pooling.MEAN))
        return cls(**{**document, **pairs, **singles, "pooling": pooling})


class BlockBuilder:
    """Computes rows for many users at once, without a loop over users."""

    def __init__(self, layout: Layout, items: ItemTable) -> None:
        self.layout = layout
        self.items = items
        self.windows = np.asarray(layout.windows_days, dtype=np.int64) * DAY_US

    def rows(self, users: UserArrays) -> Float32:
        """[n, width] float32, NaN in the columns of absent blocks."""
        rings = Rings(users, self.windows)
        columns = [
            *self._pooled(users, rings),
            *self._latest(users),
            *self._picked(users),
            _only(rings.active, recency(users, rings)),
            _only(rings.active, activity(users, rings)),
            _only(rings.active, rhythm(users.events, len(users))),
            *([_only(rings.active, self._mix(users))] if self.layout.services + self.layout.actions else []),
            *([_only(rings.active, regularity(users, rings))] if self.layout.regularity else []),
            *(_only(rings.active, per_code(users, rings, code, size)) for code, size in self._codes(users)),
            _tenure(users),
            *(_code(users.categories[name]) for name, _ in self.layout.categories),
            *(_number(users.numbers[name]) for name in self.layout.numbers),
            *(users.vectors[name] for name, _ in self.layout.vectors),
        ]
        return np.concatenate([_finite_float32(column) for column in columns], axis=1)

    def _pooled(self, users: UserArrays, rings: Rings) -> list[Float32]:
        """Pooled item vectors of each modality and window."""
        if not self.layout.modalities:
            return []
        rings_pooled = len(self.windows) + self.layout.all_time
        known = (users.events.item != UNKNOWN) & (rings.ring < rings_pooled)
        sums = self.items.sums(users.events.item[known], rings.bag[known], len(users) * rings.count)
        by_ring = rings.newest_first(sums)
        windows = list(accumulate(by_ring[:, ring] for ring in range(rings_pooled)))
        pooled = [self.divided(window) for window in windows]
        return [window[modality] for modality in range(len(self.layout.modalities)) for window in pooled]

    def _latest(self, users: UserArrays) -> list[Float32]:
        """Pooled vectors of all items by modality, each weighed by how many moments of the user came after it."""
        if not (self.layout.latest_decay and self.layout.modalities):
            return []
        known = np.flatnonzero(users.events.item != UNKNOWN)
        after = moments_after(users.events.user[known], users.events.time[known])
        weights = self.layout.latest_decay ** after.astype(np.float64)
        counts = weights > LEAST
        latest = known[counts]
        return self.divided(
            self.items.sums(users.events.item[latest], users.events.user[latest], len(users), weights[counts])
        )

    def _codes(self, users: UserArrays) -> list[tuple[Int64, int]]:
        """Codes of the events that have blocks of their own, and how many codes there are."""
        pairs = [(users.events.action, self.layout.actions), (users.events.service, self.layout.services)]
        return [(code, size) for code, size in pairs if self.layout.regularity and size > 1]

    def _picked(self, users: UserArrays) -> list[Float32]:
        """Pooled vectors of the onboarding picks, by modality."""
        if not (self.layout.onboarding and self.layout.modalities):
            return []
        return self.divided(self.items.sums(users.onboarding.item, users.onboarding.user, len(users)))

    def divided(self, sums: Float32) -> list[Float32]:
        """The pooled vectors of each modality: sums over counts or their roots; NaN without any item."""
        pooled, start, first_count = [], 0, sums.shape[-1] - len(self.layout.modalities)
        for place, (_, width) in enumerate(self.layout.modalities):
            count = sums[:, first_count + place, None]
            size = np.sqrt(count) if self.layout.pooling == Pooling.ROOT else count
            pooled.append(
                np.where(count > 0, sums[:, start : start + width] / np.where(count > 0, size, 1), np.float32(np.nan))
            )
            start += width
        return pooled

    def _mix(self, users: UserArrays) -> Float64:
        """[n, services + actions] share of each among the user's events."""
        events, n = users.events, len(users)
        services = shares(events.user, events.service, n, self.layout.services)
        actions = shares(events.user, events.action, n, self.layout.actions)
        return np.concatenate([services, actions], axis=1)


def _tenure(users: UserArrays) -> Float64:
    days = (users.as_of - np.where(users.created == NO_TIME, users.as_of, users.created)) / DAY_US
    return _only(users.created != NO_TIME, log(days)[:, None])


def _finite_float32(column: Any) -> Float32:
    """Numbers beyond float32, and sums that have left it, as its largest: one of them must not make others NaN."""
    limited: Float32 = np.clip(column, -LARGEST, LARGEST).astype(np.float32, copy=False)
    return limited


def _number(values: Float64) -> Float64:
    """[n, 2]: a number as it is, and its logarithm, since many are heavy-tailed."""
    return np.stack([values, log(values)], axis=1)


def _code(codes: Int64) -> Float64:
    return np.where(codes == UNKNOWN, np.nan, codes.astype(np.float64))[:, None]


def _only(present: Any, columns: Float64) -> Float64:
    return np.where(present[:, None], columns, np.nan)
