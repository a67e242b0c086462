"""The `text` modality: TF-IDF over the words of an item's text and tags, factored by a truncated SVD.

The encoder is kept with the version, so that an item which appears later gets the vector that its text would have
got at training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.training.encoding.arrays import Float32
from portrait.training.modality import Modality
from portrait.training.modality.collaborative import unit

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

NAME = "text"
MAX_WORDS = 50_000


@dataclass(frozen=True)
class TextEncoder:
    """A fitted map from texts to vectors: unit(tfidf(text) @ components)."""

    words: Sequence[str]  # in the order of the rows of ...
    idf: Float32  # [words]
    components: Float32  # [words, dimension]

    @property
    def tensors(self) -> dict[str, Float32]:
        """Its numbers by name: `TextEncoder(words, **tensors)` is the same encoder."""
        return {"idf": self.idf, "components": self.components}

    @property
    def nbytes(self) -> int:
        """Memory, about: a word takes some 200 bytes in scikit-learn's dictionary."""
        return int(self.idf.nbytes + self.components.nbytes) + 200 * len(self.words)

    def vectors(self, items: pa.Table) -> Float32:
        """Unit vectors [n, dimension] of items by `text` and `tags`; rows of NaN where no word is known.

        An item's vector depends on nothing but its text and tags.
        """
        if not len(items):  # scikit-learn refuses to transform nothing
            return np.empty((0, self.components.shape[1]), dtype=np.float32)
        weights = self._tfidf.transform(documents(items))
        vectors = unit(weights @ self.components)
        vectors[np.diff(weights.indptr) == 0] = np.nan
        return vectors

    def modality(self, catalogue: pa.Table, codes: np.ndarray, items: int) -> Modality:
        """Vectors of the catalogue; its row i is item `codes[i]` of `items`."""
        vectors = np.full((items, self.components.shape[1]), np.nan, dtype=np.float32)
        vectors[codes] = self.vectors(catalogue)
        return Modality(NAME, vectors)

    @cached_property
    def _tfidf(self) -> "TfidfVectorizer":
        tfidf = _vectorizer(vocabulary=self.words)
        tfidf.idf_ = self.idf
        return tfidf


def fit(catalogue: pa.Table, dimension: int, seed: int) -> TextEncoder | None:
    """An encoder of at most so many dimensions, fitted to the items with text; None when they say too little."""
    from sklearn.utils.extmath import randomized_svd  # late, as in `collaborative`

    written = [document for document in documents(catalogue) if document.strip()]
    tfidf = _vectorizer(max_features=MAX_WORDS)
    try:
        weights = tfidf.fit_transform(written)
    except ValueError:  # scikit-learn's "empty vocabulary": no item has a word
        return None
    rank = min(dimension, min(weights.shape) - 1)
    if rank < 2:
        return None
    _, _, components = randomized_svd(weights, rank, n_iter=5, random_state=seed)
    words: list[str] = tfidf.get_feature_names_out().tolist()
    return TextEncoder(words, tfidf.idf_.astype(np.float32), np.ascontiguousarray(components.T, dtype=np.float32))


def documents(items: pa.Table) -> list[str]:
    """Text and tags of each item, as one text."""
    texts = pc.fill_null(pc.cast(items["text"], pa.string()), "")
    if "tags" not in items.column_names or pa.types.is_null(items.schema.field("tags").type):
        return [str(document) for document in texts.to_pylist()]
    tags = pc.fill_null(pc.binary_join(items["tags"].combine_chunks(), " "), "")
    joined = pc.binary_join_element_wise(texts, tags, " ")
    return [str(document) for document in joined.to_pylist()]


def _vectorizer(**fitting: object) -> "TfidfVectorizer":
    from sklearn.feature_extraction.text import TfidfVectorizer  # late, as in `collaborative`

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **fitting)
