"""Training examples of heads: frozen vectors, each with a class or with an item."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from portrait.registry.errors import InvalidInput
from portrait.training.encoding.arrays import UNKNOWN, Float32, Int64
from portrait.training.metrics.ranking import Hidden


@dataclass(frozen=True)
class Labelled:
    """n examples of classes: vectors float32 [n, d], and the place of each one's class among `names`, UNKNOWN if none.

    A user may be there several times, as of several times.
    """

    vectors: Float32
    codes: Int64
    names: tuple[str, ...]

    @classmethod
    def from_labels(cls, vectors: Float32, labels: Sequence[str], names: Sequence[str] | None = None) -> Self:
        """Labels as text; `names` are the classes that count, by default all there are, sorted.

        A label that is not among `names` gets the code UNKNOWN. Raises InvalidInput when there are fewer than two
        classes, or labels for another number of vectors.
        """
        given = np.asarray(labels, dtype=np.str_)
        if len(given) != len(vectors):
            raise InvalidInput(f"{len(given)} labels for {len(vectors)} vectors: give one each")
        known = np.unique(given) if names is None else np.asarray(names, dtype=np.str_)
        if len(known) < 2:
            found = ", ".join(map(repr, known.tolist())) or "none"
            raise InvalidInput(f"a head tells classes apart, but the labels have one or none ({found}): give more rows")
        order = np.argsort(known)
        places = np.searchsorted(known, given, sorter=order).clip(max=len(known) - 1)
        codes = np.where(known[order[places]] == given, order[places], UNKNOWN)
        return cls(vectors, codes.astype(np.int64), tuple(map(str, known)))

    def __len__(self) -> int:
        return len(self.codes)

    def known(self) -> Self:
        """The examples whose class is among `names`."""
        kept = self.codes != UNKNOWN
        return self if kept.all() else replace(self, vectors=self.vectors[kept], codes=self.codes[kept])


@dataclass(frozen=True)
class Items:
    """The items of a ranking head: features float32 [items, f], and int64 [items] users who had each."""

    features: Float32  # NaN where there are none
    popularity: Int64
    names: tuple[str, ...] = ()  # keys of the items, where a head is to be kept


@dataclass(frozen=True)
class Chosen:
    """n examples of items: vectors float32 [n, d], the column of the item of each, what is not to be ranked [n, items].

    The same `items` for all parts of a task and every kind of user vector.
    """

    vectors: Float32
    item: Int64
    hidden: Hidden
    items: Items

    @property
    def names(self) -> tuple[str, ...]:
        return self.items.names

    def __len__(self) -> int:
        return len(self.item)
