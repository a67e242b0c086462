"""Sizes of CLUE models with their training recipe: the published table, and smaller ones for a CPU."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Both transformers of a model have this size. Raises ValueError if the heads do not share the width evenly."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    batch: int  # users of all workers together; "with a small batch a larger model gains nothing" (CLUE)
    learning_rate: float
    weight_decay: float

    def __post_init__(self) -> None:
        """A head's part of the width is a whole number."""
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} do not divide width={self.width}")


# From "1.7m" on the recipe of LMRec (ACL 2023), whose names count one transformer and a vocabulary of 50,000;
# so "1.7m" is mostly vocabulary, and "micro" has more weights in its transformers.
SIZES = {
    "pico": Size(2, 16, 2, 32, 256, 5e-3, 1e-2),
    "nano": Size(2, 32, 2, 64, 256, 5e-3, 1e-2),
    "micro": Size(2, 64, 4, 128, 256, 5e-3, 1e-2),
    "mini": Size(2, 128, 4, 256, 256, 2e-3, 1e-2),
    "1.7m": Size(4, 32, 4, 128, 256, 5e-3, 1e-2),
    "7m": Size(4, 128, 4, 512, 512, 2e-3, 1e-2),
    "20m": Size(8, 256, 8, 1024, 1024, 1e-3, 5e-2),
    "64m": Size(12, 512, 8, 2048, 1024, 8e-4, 1e-1),
    "125m": Size(12, 768, 12, 2048, 1024, 2e-4, 1e-1),
}


def non_embedding_parameters(size: Size) -> int:
    """Weights of both transformers: what a scaling law calls the size of a model.

    Left out are all embeddings (tokens, positions, actions, gaps) and the map to the vector's dimension.
    """
    matrices = 4 * size.width**2 + 2 * size.width * size.feed_forward
    norms = 2 * size.width
    return 2 * (size.layers * (matrices + norms) + size.width)
