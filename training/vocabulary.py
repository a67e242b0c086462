"""Text values and the codes that models know them by."""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.arrays import UNKNOWN, Int64

SEPARATOR = "\x1f"  # between service and item id; ASCII's unit separator


class Vocabulary:
    """Distinct values in a fixed order; the place of a value is its code."""

    def __init__(self, values: Iterable[str], codes: Mapping[str, int] | None = None) -> None:
        """Give `codes` to look texts up by another name than the values themselves."""
        self.values = list(values)
        self._codes = codes if codes is not None else {value: code for code, value in enumerate(self.values)}

    def __len__(self) -> int:
        return len(self.values)

    def encode(self, texts: pa.Array) -> Int64:
        """Codes of the texts; UNKNOWN for nulls and for values that are not in the vocabulary."""
        return self.lookup(texts.dictionary_encode())

    def lookup(self, encoded: pa.DictionaryArray) -> Int64:
        """`encode` for texts that are dictionary-encoded already; only distinct texts are looked up."""
        distinct = encoded.dictionary.to_pylist()
        codes = np.fromiter((self._codes.get(text, UNKNOWN) for text in distinct), dtype=np.int64, count=len(distinct))
        places = place_codes(encoded)
        return np.where(places < 0, UNKNOWN, np.append(codes, UNKNOWN)[places])


def place_codes(encoded: pa.DictionaryArray) -> Int64:
    """Places in the array's own dictionary; -1 for nulls."""
    indices = encoded.indices
    if indices.null_count:
        indices = pc.fill_null(indices, -1)
    return np.asarray(indices, dtype=np.int64)


def item_keys(services: pa.Array, item_ids: pa.Array) -> pa.Array:
    """One text for each (service, item_id)."""
    return pc.binary_join_element_wise(services, item_ids, SEPARATOR)
