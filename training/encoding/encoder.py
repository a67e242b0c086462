"""The encoder of a version: training, backfill, refresh and compute-on-read turn users into vectors with it."""

import threading
from copy import copy
from pathlib import Path

import numpy as np
import pyarrow as pa

from portrait.feature_repo.declaration.input_schema import InputSchema
from portrait.registry.errors import FingerprintMismatch
from portrait.training.encoding import families, probe
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.artifact import PRIOR, Content, load_content
from portrait.training.encoding.artifact import load_prior as load_prior
from portrait.training.encoding.user_batch import one_each

CHUNK = 8192  # users at a time; bounds memory, changes no vector


class Encoder:
    """A version's model. Thread-safe; the same input gives the same vector in any batch, up to 1e-5."""

    def __init__(self, content: Content, device: str = "cpu") -> None:
        self.fingerprint = content.fingerprint
        self.dimension = content.dimension
        self.input_schema = InputSchema.from_json(content.document["schema"])
        self.prior: Float32 = content.weights[PRIOR]
        self.prior.flags.writeable = False
        self._representation = families.get(content.family).representation(content, device)
        self._learning = threading.Lock()
        self._items_position = 0

    @property
    def items_position(self) -> int:
        """Position of the catalogue up to which items that are not in the artifact are known; 0 when freshly loaded."""
        return self._items_position

    def learn(self, items: pa.Table, position: int) -> None:
        """Learn items that appeared after training: rows of the catalogue, in its order, up to a position.

        `items` has `service`, `item_id`, `text`, `tags` and any `vector_<modality>`. The first row that gives an item a
        vector counts, for good: nothing moves within a version. Items of the artifact keep its vectors, rows that are
        known already change nothing, and what was learnt up to a later position stays.
        """
        with self._learning:
            if position > self._items_position:
                self._representation.learn(items)
                self._items_position = position

    def knowing(self, items: pa.Table, position: int) -> "Encoder":
        """A second encoder that has learnt these rows too; this one does not change.

        They share what they know: of encoders made from one another only the newest may learn further.
        """
        other = copy(self)
        other._learning, other._representation = threading.Lock(), copy(self._representation)
        other.learn(items, position)
        return other

    @property
    def window_days(self) -> tuple[int, ...]:
        """Lengths in days of the windows [as_of - w, as_of) of the model; empty when it has none."""
        return self._representation.window_days

    @property
    def nbytes(self) -> int:
        """Memory of weights, item vectors and text encoder, for caches that hold several encoders."""
        return self._representation.nbytes

    def encode(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """Vectors [n, dimension] float32 of users as of a time (microseconds since 1970; one, or one each).

        `users` has the columns of `snapshot.read`. Rows about which nothing is known get the prior exactly.
        Raises InvalidInput when a column that the model was trained with is missing.
        """
        as_of_each = one_each(as_of, users.num_rows)
        vectors = np.empty((users.num_rows, self.dimension), dtype=np.float32)
        for start in range(0, max(users.num_rows, 1), CHUNK):
            part = slice(start, start + CHUNK)
            encoded, known = self._representation.represent(users.slice(start, CHUNK), as_of_each[part])
            vectors[part] = np.where(known[:, None], encoded, self.prior)
        return vectors


def load_encoder(path: Path, expected_fingerprint: str | None = None, device: str = "cpu") -> Encoder:
    """The encoder of an artifact.

    Raises FingerprintMismatch, with both, when the artifact was changed, is another than expected, or encodes its
    probe to other vectors than when it was trained.
    """
    encoder = Encoder(load_content(path, expected_fingerprint), device)
    users, as_of, expected = probe.load(path)
    found = encoder.encode(users, as_of)
    difference = probe.difference(found, expected)
    if not difference <= probe.TOLERANCE:
        raise FingerprintMismatch(
            f"the artifact at {path} encodes its probe to {probe.digest(found)}, expected was "
            f"{probe.digest(expected)}; they are {difference:.2g} apart (at most {probe.TOLERANCE}): "
            "vectors of this code or machine would not belong to its space"
        )
    return encoder
