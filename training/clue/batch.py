"""The batch of a training step: distinct items as tokens, and two views of each user as sequences of them."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

GAPS = 32  # buckets: first event, below a second, ..., from 2**30 seconds (34 years) on


@dataclass(frozen=True)
class Sequences:
    """Events of `k` users in one service each: int64 [k, length], oldest first and padded at the LEFT.

    So the newest event stands in the last column, whatever the padding. At padding only `items` is looked at.
    """

    items: Tensor  # row of the item in a table of item vectors; -1 = padding
    actions: Tensor  # code of the action + 1; 0 = unknown
    gaps: Tensor  # bucket of the time since the event before it, by `gap_bucket`

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """Some of the users; slices are views."""
        return type(self)(self.items[rows], self.actions[rows], self.gaps[rows])

    @property
    def lengths(self) -> Tensor:
        """int64 [k] number of events of each user."""
        return (self.items >= 0).sum(dim=1)

    def newest(self, events: int) -> Self:
        """The newest `events` columns, as views."""
        return type(self)(*(tensor[:, -events:] for tensor in (self.items, self.actions, self.gaps)))

    def followed_by(self, others: "Sequences") -> Self:
        """These users and then the others, padded to one length."""
        length = max(self.items.shape[1], others.items.shape[1])

        def joined(one: Tensor, other: Tensor, padding: int) -> Tensor:
            return torch.cat([pad(part, (length - part.shape[1], 0), value=padding) for part in (one, other)])

        return type(self)(
            joined(self.items, others.items, -1),
            joined(self.actions, others.actions, 0),
            joined(self.gaps, others.gaps, 0),
        )

    def to(self, device: torch.device | str) -> Self:
        return type(self)(*(tensor.to(device) for tensor in (self.items, self.actions, self.gaps)))


@dataclass(frozen=True)
class Batch:
    """One worker's share of a step: `n` users, each seen twice. Every worker of a step has the same `n`."""

    tokens: Tensor  # int64 [items, text_length] every distinct item once; 0 = padding, at the right
    first: Sequences  # n; their `items` are rows of `tokens`
    second: Sequences  # n; may be longer or shorter than the first
    users: Tensor | None = None  # int64 [n] who it is; needed only if a user may stand in the step twice
    categories: Tensor | None = None  # float32 [n, 2, categories] shares of the first and second view's items; sum 1

    def __len__(self) -> int:
        return len(self.first)

    def to(self, device: torch.device | str) -> Self:
        return type(self)(
            self.tokens.to(device),
            self.first.to(device),
            self.second.to(device),
            None if self.users is None else self.users.to(device),
            None if self.categories is None else self.categories.to(device),
        )


def gap_bucket(seconds: Tensor, gaps: int = GAPS) -> Tensor:
    """int64 bucket below `gaps` of the seconds since the event before: 1 + floor(log2(1 + seconds)).

    0 stands for a negative number: there is no event before. 1: less than a second, 2: less than 3, 3: less than 7,
    12: about an hour, 17: a day, 20: a week. The same on every device: the exponent is read off, no logarithm is taken.
    """
    exponent = torch.frexp(1 + seconds.double().clamp_min(0)).exponent.long()
    return torch.where(seconds < 0, 0, exponent).clamp_max(gaps - 1)
