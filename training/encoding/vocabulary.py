"""Vocabularies, which give text values their codes, and the keys of items."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.training.encoding.arrays import UNKNOWN, Int64

SEPARATOR = "\x1f"  # between service and item id; ASCII's unit separator


class Codes:
    """Codes of texts, from 0 up to an end.

    They can grow while others read: grown ones share the dictionary, and each sees nothing at or beyond its own end.
    Only the newest may be grown, by one thread at a time.
    """

    def __init__(self, codes: dict[str, int], end: int) -> None:
        self._codes = codes
        self._end = end

    def __len__(self) -> int:
        return self._end

    def grown(self, further: Sequence[str]) -> "Codes":
        """These codes, and the next ones for further texts; a text that has a code keeps it, and the new one idles."""
        for code, text in enumerate(further, start=self._end):
            self._codes.setdefault(text, code)
        return Codes(self._codes, self._end + len(further))

    def encode(self, texts: pa.Array) -> Int64:
        """Codes of the texts; UNKNOWN for nulls and for texts that have none."""
        return self.lookup(texts.dictionary_encode())

    def lookup(self, encoded: pa.DictionaryArray) -> Int64:
        """`encode` for texts that are dictionary-encoded already; only distinct texts are looked up."""
        distinct = encoded.dictionary.to_pylist()
        codes = np.fromiter((self._codes.get(text, UNKNOWN) for text in distinct), dtype=np.int64, count=len(distinct))
        codes[codes >= self._end] = UNKNOWN
        places = place_codes(encoded)
        return np.where(places < 0, UNKNOWN, np.append(codes, UNKNOWN)[places])


class Vocabulary(Codes):
    """Distinct values in a fixed order; the place of a value is its code."""

    def __init__(self, values: Iterable[str]) -> None:
        self.values = list(values)
        super().__init__({value: code for code, value in enumerate(self.values)}, len(self.values))


def place_codes(encoded: pa.DictionaryArray) -> Int64:
    """Places in the array's own dictionary; -1 for nulls."""
    indices = encoded.indices
    if indices.null_count:
        indices = pc.fill_null(indices, -1)
    return np.asarray(indices, dtype=np.int64)


def item_keys(services: pa.Array, item_ids: pa.Array) -> pa.Array:
    """One text for each (service, item_id)."""
    return pc.binary_join_element_wise(services, item_ids, SEPARATOR)


def item_key(service: str, item_id: str) -> str:
    """The key of one item, as `item_keys` makes it."""
    return f"{service}{SEPARATOR}{item_id}"


def service_of(key: str) -> str:
    """The service in a text of `item_keys`."""
    return key.split(SEPARATOR, 1)[0]


def item_id(key: str) -> str:
    """The item id in a text of `item_keys`."""
    return key.split(SEPARATOR, 1)[1]


def catalogue_keys(catalogue: pa.Table) -> pa.Array:
    """The key of each row of the catalogue."""
    keys = item_keys(catalogue["service"], catalogue["item_id"])
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
