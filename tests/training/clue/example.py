"""A small model, and random batches for it."""

import torch

from portrait.training.clue.batch import Batch, Sequences
from portrait.training.clue.model import Clue, Shape
from portrait.training.clue.sizes import SIZES

SHAPE = Shape.from_size(SIZES["nano"], vocabulary=50, text_length=6, actions=3, sequence_length=9, dimension=16)
CATEGORIES = 5


def model(seed: int = 0) -> Clue:
    torch.manual_seed(seed)
    return Clue(SHAPE)


def texts(items: int, generator: torch.Generator) -> torch.Tensor:
    """1 to 6 tokens an item, padded at the right."""
    tokens = torch.randint(1, SHAPE.vocabulary, (items, SHAPE.text_length), generator=generator)
    lengths = torch.randint(1, SHAPE.text_length + 1, (items, 1), generator=generator)
    return tokens * (torch.arange(SHAPE.text_length) < lengths)


def sequences(users: int, items: int, length: int, generator: torch.Generator) -> Sequences:
    """1 to `length` events a user, padded at the left."""
    lengths = torch.randint(1, length + 1, (users, 1), generator=generator)
    padding = torch.arange(length) < length - lengths
    places = torch.randint(0, items, (users, length), generator=generator).masked_fill(padding, -1)
    actions = torch.randint(0, SHAPE.actions + 1, (users, length), generator=generator)
    gaps = torch.randint(0, SHAPE.gaps, (users, length), generator=generator)
    return Sequences(places, actions.masked_fill(padding, 0), gaps.masked_fill(padding, 0))


def batch(users: int = 11, items: int = 23, seed: int = 0) -> Batch:
    """Views of different lengths; the last user is the first one again."""
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        texts(items, generator),
        sequences(users, items, 7, generator),
        sequences(users, items, 9, generator),
        torch.arange(users) % (users - 1),
        torch.rand(users, 2, CATEGORIES, generator=generator).softmax(dim=2),
    )


def gradients(*modules: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = [pair for module in modules for pair in module.named_parameters()]
    return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}


def largest_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest difference of a parameter's gradient, in units of that gradient's size."""
    assert found.keys() == expected.keys()
    assert all(expected[name].norm() > 0 for name in expected)
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected)
