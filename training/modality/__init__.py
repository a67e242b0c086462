"""Modality encoders: frozen maps from items to vectors, fitted before the representation model."""

from dataclasses import dataclass

from portrait.training.encoding.arrays import Float32


@dataclass(frozen=True)
class Modality:
    """One vector an item: [items, dimension] float32, rows of NaN for items that the modality does not know."""

    name: str
    vectors: Float32
    brought: bool = False  # by the user, as a column of the catalogue, rather than fitted here

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])
