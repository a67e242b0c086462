"""The `text` modality: TF-IDF over the words of an item's text and tags, factored by a truncated SVD."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

from training.modality import Modality
from training.modality.collaborative import unit

NAME = "text"
MAX_WORDS = 50_000


def text(catalogue: pa.Table, codes: np.ndarray, dimension: int, seed: int, items: int) -> Modality | None:
    """Unit vectors of the items with text; row i of the catalogue is item `codes[i]`. None without enough text."""
    documents = _documents(catalogue)
    written = np.flatnonzero([bool(document.strip()) for document in documents])
    try:
        words = TfidfVectorizer(sublinear_tf=True, max_features=MAX_WORDS, dtype=np.float32).fit_transform(
            [documents[row] for row in written]
        )
    except ValueError:  # scikit-learn's "empty vocabulary": no item has a word
        return None
    rank = min(dimension, min(words.shape) - 1)
    if rank < 2:
        return None
    left, singular, _ = randomized_svd(words, rank, n_iter=5, random_state=seed)
    vectors = np.full((items, rank), np.nan, dtype=np.float32)
    vectors[codes[written]] = unit(left * singular)
    return Modality(NAME, vectors)


def _documents(catalogue: pa.Table) -> list[str]:
    """Text and tags of each item, as one text."""
    texts = pc.fill_null(pc.cast(catalogue["text"], pa.string()), "")
    if "tags" not in catalogue.column_names or pa.types.is_null(catalogue.schema.field("tags").type):
        return [str(document) for document in texts.to_pylist()]
    tags = pc.fill_null(pc.binary_join(catalogue["tags"].combine_chunks(), " "), "")
    joined = pc.binary_join_element_wise(texts, tags, " ")
    return [str(document) for document in joined.to_pylist()]
