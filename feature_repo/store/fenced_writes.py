"""Fenced writes of a refresh shard: histories, profiles and vectors."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from portrait.feature_repo.declaration.views import HISTORY_VIEW, PROFILE_VIEW, view_name
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.online.codec import Integers, Vectors
from portrait.feature_repo.online.inputs import rows_of_table
from portrait.feature_repo.online.rows import Fence, fence_rows, rows_of_vectors
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.records.records import EmbeddingVersion


class FencedWrites:
    """Writes to the online store under the epochs of the buckets; all methods raise LeaseLost for an outdated epoch."""

    def __init__(self, repo: FeatureRepo) -> None:
        self._repo = repo

    def raise_fences(self, epochs: Mapping[int, int]) -> None:
        """Refuse from now on writes to these buckets under other epochs; raises LeaseLost in an unmarked store."""
        fences = [Fence(*pair) for pair in sorted(epochs.items())]
        self._repo.online.raise_fences(self._repo.config, fences, self._repo.identity.store)

    def write_inputs(self, histories: pa.Table, profiles: pa.Table, epochs: Mapping[int, int]) -> None:
        """Write histories (HISTORY), and profiles with their order columns."""
        for view, table in ((PROFILE_VIEW, profiles), (HISTORY_VIEW, histories)):
            if table.num_rows:
                fences = _fences(table["user_id"].to_pylist(), epochs)
                self._repo.online.write_rows(self._repo.config, view, fence_rows(rows_of_table(table), fences))

    def write_vectors(
        self,
        version: EmbeddingVersion,
        user_ids: Sequence[str],
        vectors: Vectors,
        position: Integers,
        as_of: Integers,
        computed_at: int,
        epochs: Mapping[int, int],
    ) -> int:
        """Write vectors float32 [n, d] of a version; returns how many won. Times are microseconds.

        Raises InvalidInput for another dimension or numbers that are not finite, FingerprintMismatch for another space.
        """
        self._repo.require_writable(version, user_ids, vectors)
        rows = rows_of_vectors(user_ids, vectors, position, as_of, computed_at)
        view = view_name(version.id)
        return self._repo.online.write_rows(self._repo.config, view, fence_rows(rows, _fences(user_ids, epochs)))


def _fences(user_ids: Sequence[str], epochs: Mapping[int, int]) -> list[Fence]:
    return [Fence(bucket, epochs[bucket]) for bucket in map(bucket_of, user_ids)]
