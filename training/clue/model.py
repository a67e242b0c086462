"""The CLUE model: item texts -> item vectors -> one vector per service -> the user's vector (CLUE section 3)."""

import math
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from portrait.training.clue.batch import GAPS, Sequences
from portrait.training.clue.sizes import Size
from portrait.training.clue.transformer import Transformer, embedding, linear, masked_mean, places

FIRST_TEMPERATURE = 0.07  # both as in CLIP; CLUE does not report its own
LEAST_TEMPERATURE = 0.01


@dataclass(frozen=True)
class Shape:
    """The sizes that decide which weights a model has."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int  # token ids, the padding's 0 among them
    text_length: int  # tokens of an item, at most
    actions: int  # known ones; one more embedding stands for the unknown
    sequence_length: int  # events, at most
    dimension: int  # of a user's vector; "hardly matters: choose it for storage" (CLUE)
    gaps: int = GAPS  # buckets of the time between events

    @classmethod
    def from_size(cls, size: Size, **rest: int) -> Self:
        """A shape of this size; the fields that a size does not have are given by name."""
        return cls(size.layers, size.width, size.heads, size.feed_forward, **rest)

    def to_json(self) -> dict[str, int]:
        """Its fields by name: `Shape(**fields)` is the same shape."""
        return asdict(self)

    def transformer(self) -> Transformer:
        """A new transformer of this shape."""
        return Transformer(self.layers, self.width, self.heads, self.feed_forward)


class ItemEncoder(nn.Module):
    """Token ids int64 [items, <= text_length], 0 = padding -> float32 [items, width].

    An item without any token gets zeros: leave it out of the sequences.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = embedding(shape.vocabulary, shape.width)
        self.positions = embedding(shape.text_length, shape.width)
        self.transformer = shape.transformer()

    def forward(self, tokens: Tensor) -> Tensor:
        """Mean over the tokens of their last hidden states."""
        valid = tokens > 0
        x = self.tokens(tokens) + places(tokens.shape[1], self.positions)  # [items, text_length, width]
        return masked_mean(self.transformer(x, valid), valid)


class ServiceEncoder(nn.Module):
    """Sequences of k users and a table of item vectors [items, width] -> float32 [k, dimension] of length 1.

    A sequence without any event gets zeros: leave it out.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.actions = embedding(shape.actions + 1, shape.width)
        self.gaps = embedding(shape.gaps, shape.width)
        self.positions = embedding(shape.sequence_length, shape.width)
        self.transformer = shape.transformer()
        self.out = linear(shape.width, shape.dimension)

    def forward(self, sequences: Sequences, item_vectors: Tensor) -> Tensor:
        """Mean over the events of their last hidden states, mapped and normalised."""
        valid = sequences.items >= 0
        x = functional.embedding(sequences.items.clamp_min(0), item_vectors)  # [k, length, width]
        x = x + self.actions(sequences.actions) + self.gaps(sequences.gaps)
        # Position 0 is the newest event's, in the last column: a longer past does not move what is near.
        x = x + places(x.shape[1], self.positions).flip(0)
        mean = masked_mean(self.transformer(x, valid), valid)
        return functional.normalize(self.out(mean).float(), dim=1)


class Clue(nn.Module):
    """Both encoders and the temperature of their contrast."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.item_encoder = ItemEncoder(shape)
        self.service_encoder = ServiceEncoder(shape)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(FIRST_TEMPERATURE - LEAST_TEMPERATURE)))

    def items(self, tokens: Tensor) -> Tensor:
        """Item vectors float32 [items, width] of token ids int64 [items, text_length]."""
        vectors: Tensor = self.item_encoder(tokens)
        return vectors

    def services(self, sequences: Sequences, item_vectors: Tensor) -> Tensor:
        """Service vectors float32 [k, dimension] of length 1; the sequences' items are rows of `item_vectors`."""
        vectors: Tensor = self.service_encoder(sequences, item_vectors)
        return vectors

    def portrait(self, service_vectors: Tensor, owner: Tensor, users: int) -> Tensor:
        """float32 [users, dimension]: the normalised mean of the service vectors [k, dimension] of each user.

        `owner` int64 [k] names the user, 0 to users - 1, of each vector. A user without any gets zeros.
        """
        # The sum has the direction of the mean.
        total = service_vectors.new_zeros(users, service_vectors.shape[1]).index_add(0, owner, service_vectors)
        return functional.normalize(total, dim=1)

    def temperature(self) -> Tensor:
        """Scalar above 0.01. The bound is added, not clamped, so that the gradient is never zero."""
        return LEAST_TEMPERATURE + self.log_temperature.exp()
