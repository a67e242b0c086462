"""A version's encoders as of times: each knows the items of the artifact, and those that had come until then."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from portrait.feature_repo.history.catalogue import CatalogueHistory
from portrait.training.encoding.arrays import Bool, Float32, Int64
from portrait.training.encoding.encoder import Encoder

BEFORE = -1
"""The era before the log began: every item counts by its first row (docs/decisions/0014)."""


class EncodersAsOf:
    """Encodes each user with the items that the catalogue had at the user's time.

    Between two commits of items the encoder is the same one: there are as many as commits among the times asked for.
    """

    def __init__(self, load: Callable[[], Encoder], items: CatalogueHistory, times: Int64) -> None:
        """`load` gives a fresh encoder; `times` int64 in microseconds, one at least, are all that will be asked for."""
        self._began = np.iinfo(np.int64).max if items.began_at is None else items.began_at
        self._commits = np.unique(items.committed_at)
        self._encoders: dict[int, Encoder] = {}
        wanted = np.unique(self._eras(times)).tolist()
        if BEFORE in wanted:
            self._encoders[BEFORE] = _with_items(load(), items.rows, items.first)
            wanted.remove(BEFORE)
        if not wanted:
            return
        # A chain, each grown from the one before: they share what they know, and only the newest is ever grown.
        seen_from = np.searchsorted(self._commits, items.committed_at, side="left") + 1
        encoder, before = load(), 0
        for era in wanted:
            encoder = _with_items(encoder, items.rows, (before < seen_from) & (seen_from <= era))
            self._encoders[era], before = encoder, era

    @property
    def prior(self) -> Float32:
        """The vector of a user about whom nothing is known."""
        return next(iter(self._encoders.values())).prior

    def encode(self, users: pa.Table) -> Float32:
        """Vectors float32 [n, dimension] of the rows of `read_inputs_at`, each as of its own time."""
        as_of = users["as_of"].cast(pa.int64()).to_numpy()
        eras = self._eras(as_of)
        vectors = np.empty((users.num_rows, len(self.prior)), dtype=np.float32)
        for era in np.unique(eras).tolist():
            rows = np.flatnonzero(eras == era)
            part = users if len(rows) == users.num_rows else users.take(rows)
            vectors[rows] = self._encoders[era].encode(part, as_of[rows])
        return vectors

    def _eras(self, times: Int64) -> Int64:
        """How many commits of items lie before each time; BEFORE for times before the log began."""
        commits = np.searchsorted(self._commits, times, side="left").astype(np.int64)
        return np.where(times <= self._began, BEFORE, commits)


def _with_items(encoder: Encoder, items: pa.Table, which: Bool) -> Encoder:
    further = items.filter(pa.array(which))
    return encoder.knowing(further, encoder.items_position + further.num_rows) if further.num_rows else encoder
