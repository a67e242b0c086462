"""The denoising autoencoder: a row of blocks -> z -> the row again (GUR section 3)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from portrait.training.blocks.blocks import Block, BlockKind

CLIP = 8.0  # standard deviations; a single wild value must not move a user far
EMBEDDING_WIDTH = 8  # of a category


class Autoencoder(nn.Module):
    """Rows are float32 [n, width] with NaN in absent blocks; z is float32 [n, dimension].

    The statistics that standardise rows and z belong to the space, so they are buffers beside the weights.
    """

    row_mean: Tensor  # [width]; 0 and 1 for codes
    row_scale: Tensor
    code_entropy: Tensor  # [categories] nats, of the training users' values
    z_mean: Tensor  # [dimension]
    z_scale: Tensor

    def __init__(self, blocks: tuple[Block, ...], dimension: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.places = _Places(blocks)
        width = sum(block.width for block in blocks)
        dense, sizes = len(self.places.dense), self.places.code_sizes
        inputs = dense + EMBEDDING_WIDTH * len(sizes) + len(blocks)
        self.embeddings = nn.ModuleList(nn.Embedding(size + 1, EMBEDDING_WIDTH) for size in sizes)
        self.encoder = _perceptron((inputs, *hidden, dimension))
        self.decoder = _perceptron((dimension, *reversed(hidden), dense + sum(sizes)))
        # Linear shortcuts beside both halves: lower loss, and z stays readable by the linear heads on top of it.
        self.encoder_shortcut = nn.Linear(inputs, dimension)
        self.decoder_shortcut = nn.Linear(dimension, dense + sum(sizes))
        self.register_buffer("row_mean", torch.zeros(width))
        self.register_buffer("row_scale", torch.ones(width))
        self.register_buffer("code_entropy", torch.ones(len(sizes)))
        self.register_buffer("z_mean", torch.zeros(dimension))
        self.register_buffer("z_scale", torch.ones(dimension))

    def encode(self, rows: Tensor) -> Tensor:
        """Rows to z as it is stored: mean 0 and deviation 1 in each dimension over the training users."""
        return (self.compress(rows) - self.z_mean) / self.z_scale

    def compress(self, rows: Tensor) -> Tensor:
        """Rows to z before its own standardisation."""
        return self._compress(*self.standardised(rows))

    def losses(self, rows: Tensor, hidden: Tensor, noise: Tensor) -> Tensor:
        """[blocks] loss of reconstructing each block from a corrupted row and a blurred z.

        The blocks marked in `hidden` [n, blocks] are taken away; `noise` [n, dimension] is added to z in units of its
        own size. About 1 for a guess that knows nothing of the user; NaN for a block that no row has.
        """
        dense, codes, present = self.standardised(rows)
        shown = present & ~hidden
        z = self._compress(dense * shown[:, self.places.dense_block], codes * shown[:, self.places.code_block], shown)
        z = z + noise * z.detach().square().mean().sqrt()
        output = self.decoder(z) + self.decoder_shortcut(z)
        dense_output, *logits = output.split([dense.shape[1], *self.places.code_sizes], dim=1)
        squares = (dense_output - dense).square() * present[:, self.places.dense_block]
        totals = squares.new_zeros(present.shape[1]).index_add(0, self.places.dense_block, squares.sum(dim=0))
        for place, scores in enumerate(logits):
            if scores.shape[1] == 0:  # a category that nobody has
                continue
            of = self.places.code_block[place]
            surprise = cross_entropy(scores, (codes[:, place] - 1).clamp_min(0), reduction="none") * present[:, of]
            totals = totals.index_add(0, of[None], surprise.sum()[None] / self.code_entropy[place])
        values = present.sum(dim=0) * self.places.width
        return torch.where(values > 0, totals / values.clamp_min(1), torch.nan)

    @torch.no_grad()
    def map_z(self, matrix: Tensor) -> None:
        """Multiply z by an invertible [dimension, dimension] from the left; the decoder undoes it first."""
        inverse = torch.linalg.inv(matrix)
        for layer in (self.encoder[-1], self.encoder_shortcut):
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(matrix @ layer.weight.to(matrix.dtype))
            layer.bias.copy_(matrix @ layer.bias.to(matrix.dtype))
        for layer in (self.decoder[0], self.decoder_shortcut):
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(layer.weight.to(matrix.dtype) @ inverse)

    def standardised(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised numbers [n, dense] and codes + 1 [n, categories], both 0 where absent; presence [n, blocks]."""
        places = self.places
        present = ~rows[:, places.first].isnan()
        standard = ((rows - self.row_mean) / self.row_scale)[:, places.dense].clamp(-CLIP, CLIP)
        codes = rows[:, places.code].nan_to_num(nan=-1.0).long() + 1
        return standard.nan_to_num(nan=0.0), codes, present

    def _compress(self, dense: Tensor, codes: Tensor, present: Tensor) -> Tensor:
        embedded = [embedding(codes[:, place]) for place, embedding in enumerate(self.embeddings)]
        inputs = torch.cat([dense * self.places.gain, *embedded, present.to(dense.dtype)], dim=1)
        z: Tensor = self.encoder(inputs) + self.encoder_shortcut(inputs)
        return z


class _Places(nn.Module):
    """The columns of each block, as index tensors that follow the model to its device."""

    first: Tensor  # [blocks] first column
    width: Tensor  # [blocks]
    dense: Tensor  # columns of numbers
    dense_block: Tensor  # block of each of them
    code: Tensor  # columns of codes
    code_block: Tensor
    gain: Tensor  # of numbers: a block weighs in z as much as another, however wide it is

    def __init__(self, blocks: tuple[Block, ...]) -> None:
        super().__init__()
        owner = [place for place, block in enumerate(blocks) for _ in range(block.width)]
        is_code = [blocks[place].kind == BlockKind.CATEGORY for place in owner]
        dense = [column for column, code in enumerate(is_code) if not code]
        code = [column for column, code in enumerate(is_code) if code]
        self.code_sizes = [blocks[owner[column]].categories for column in code]
        for name, values in {
            "first": [owner.index(place) for place in range(len(blocks))],
            "width": [block.width for block in blocks],
            "dense": dense,
            "dense_block": [owner[column] for column in dense],
            "code": code,
            "code_block": [owner[column] for column in code],
        }.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.long), persistent=False)
        energy = 1 / self.width[self.dense_block]
        self.register_buffer("gain", (energy / energy.mean()).sqrt(), persistent=False)


def _perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with SELU between them, initialised for it."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.normal_(linear.weight, std=fan_in**-0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.SELU()]
    return nn.Sequential(*layers[:-1])
