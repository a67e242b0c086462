"""The stored vectors of a version, read back for comparison."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.log.partition import BUCKETS
from portrait.infra.portrait import Portrait
from portrait.training.backfill.vectors_at_rest import version_folder


@dataclass(frozen=True)
class Stored:
    """Vectors of users in the order of their ids."""

    users: list[str]
    vectors: bytes
    position: list[int]
    as_of: list[int]

    def __len__(self) -> int:
        return len(self.users)


def assert_the_same(one: Stored, other: Stored) -> None:
    """Two computations of the same vectors: processes with other numbers of threads round differently."""
    assert (one.users, one.position, one.as_of) == (other.users, other.position, other.as_of)
    np.testing.assert_allclose(np.frombuffer(one.vectors, "f4"), np.frombuffer(other.vectors, "f4"), rtol=0, atol=1e-5)


def users_of(portrait: Portrait) -> list[str]:
    """Every user whom the instance knows."""
    return sorted(user for bucket in range(BUCKETS) for user in portrait.log.user_ids(bucket))


def online(portrait: Portrait, version: str = "autoencoder-1") -> Stored:
    """The online store's vectors; users without one are left out."""
    users = users_of(portrait)
    rows = portrait.repo.read_vectors(portrait.registry.versions.get(version), users)
    found = np.flatnonzero(rows.found)
    return Stored(
        [users[row] for row in found],
        rows.vectors[found].tobytes(),
        rows.position[found].tolist(),
        rows.as_of[found].tolist(),
    )


def offline_files(portrait: Portrait, folder: str, version: str = "autoencoder-1") -> list[Path]:
    """The files that a pass over the snapshot of this name has written, hidden ones left out."""
    return sorted((version_folder(portrait.settings.home, version) / folder).glob("*.parquet"))


def offline(portrait: Portrait, folder: str, version: str = "autoencoder-1") -> Stored:
    """The vectors in Parquet of a pass over the snapshot of this name."""
    files = offline_files(portrait, folder, version)
    table = pa.concat_tables(pq.read_table(file, partitioning=None) for file in files).sort_by("user_id")
    vectors = table.column("vector").combine_chunks().flatten().to_numpy()
    assert vectors.dtype == np.float32
    return Stored(
        table.column("user_id").to_pylist(),
        vectors.tobytes(),
        table.column("position").to_pylist(),
        table.column("as_of").cast(pa.int64()).to_pylist(),
    )
