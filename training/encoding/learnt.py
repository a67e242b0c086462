"""Items that a representation learns after training: which rows of the catalogue tell it something new."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from portrait.training.encoding.arrays import UNKNOWN, Float32
from portrait.training.encoding.vocabulary import Codes
from portrait.training.runs.survey import catalogue_keys


def told(items: pa.Table, known: Codes, vectors_of: Callable[[pa.Table], Float32]) -> tuple[list[str], Float32]:
    """Keys and vectors of the items that are not known yet, each by the first of its rows that gives it a vector.

    `vectors_of` gives [n, width] for rows of the catalogue, NaN where a row says nothing.
    """
    items = items.filter(pa.array(known.encode(catalogue_keys(items)) == UNKNOWN))
    vectors = vectors_of(items)
    telling = np.flatnonzero(~np.isnan(vectors).all(axis=1))
    keys = catalogue_keys(items).to_pylist()
    first = {keys[row]: row for row in telling[::-1].tolist()}
    rows = sorted(first.values())
    return [keys[row] for row in rows], vectors[rows]
