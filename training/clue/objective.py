"""Training objectives: contrast between two services, contrast between two crops of one, or categories of items.

An objective maps two views of each user, float32 [n, 2, dimension] of length 1, to a scalar loss in nats:
`objective(views, temperature, users, categories)`; the last two are those of `Batch`, for all n. `Views` decides which
views are drawn.
"""

from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class ObjectiveName(StrEnum):
    """CLUE section 4: the first beat the second by 10-20% downstream, and that the third by 7-12%."""

    CROSS_SERVICE = "cross_service"  # the views are two services of the user
    SAME_SERVICE = "same_service"  # the views are two crops of one service, shuffled
    CATEGORY = "category"  # either kind of views


def build(name: ObjectiveName, dimension: int, categories: int = 0) -> nn.Module:
    """The objective of this name for vectors of `dimension`; its parameters, if any, are trained with the model's."""
    if name != ObjectiveName.CATEGORY:
        return Contrast()
    if categories < 2:
        raise ValueError(f"categories={categories}: to predict them takes at least two; give the items tags")
    return CategoryPrediction(dimension, categories)


class Contrast(nn.Module):
    """Find the other view of a user among the views of all users of the batch."""

    def forward(
        self, views: Tensor, temperature: Tensor, users: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """InfoNCE between the two views, in nats."""
        return info_nce(views[:, 0], views[:, 1], temperature, users)


class CategoryPrediction(nn.Module):
    """Predicts the categories of one view's items from the other view."""

    def __init__(self, dimension: int, categories: int) -> None:
        super().__init__()
        self.head = nn.Linear(dimension, categories)

    def forward(
        self, views: Tensor, temperature: Tensor, users: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """Mean cross entropy over the views whose other view has categories."""
        if categories is None:
            raise ValueError("the batch has no categories, and this objective predicts them")
        # A vector of length 1 makes small logits; the temperature gives them the range that the contrast has.
        logits = self.head(views / temperature)  # [n, 2, categories]
        wanted = categories.flip(1)
        surprise = -(wanted * logits.log_softmax(dim=2)).sum(dim=2)
        loss: Tensor = surprise.sum() / (wanted.sum(dim=2) > 0).sum().clamp_min(1)
        return loss


def info_nce(a: Tensor, b: Tensor, temperature: Tensor, users: Tensor | None = None) -> Tensor:
    """Symmetric cross entropy over the cosines of [n, dimension] vectors of length 1: row i of a belongs to row i of b.

    `users` int64 [n] tells rows of the same user, which are nobody's negatives.
    """
    logits = a @ b.T / temperature  # [n, n]
    if users is not None:
        own = torch.eye(len(a), dtype=torch.bool, device=a.device)
        logits = logits.masked_fill((users[:, None] == users) & ~own, -torch.inf)
    right = torch.arange(len(a), device=a.device)
    return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
