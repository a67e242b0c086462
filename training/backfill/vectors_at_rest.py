"""Vectors at rest: `embeddings/<version>/<snapshot>/bucket=NN.parquet`, read by training sets and `export`."""

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot
from portrait.feature_repo.log.durable_files import replacement
from portrait.feature_repo.log.staging import working_folder
from portrait.feature_repo.schemas import TIME, embeddings, microseconds
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import TeamJoins, join_teams, read_inputs_offline
from portrait.registry.database.tables import LIVE_STATES
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.progress import Progress
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.encoding.later_items import NewItems


def version_folder(home: Path, version_id: str) -> Path:
    """The folder of a version's vectors, which is also the source path of its Feast view."""
    return home / "embeddings" / version_id


def stale_folder(folder: Path) -> Path:
    """The folder of a pass over stale users alone, which lacks the other users of the snapshot."""
    return folder.with_name(f"{folder.name}-stale")


def bucket_file(folder: Path, bucket: int) -> Path:
    return folder / f"bucket={bucket:02d}.parquet"


def vector_array(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """float32 [n, d] as an Arrow fixed-size list, without a copy."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def write_vectors(
    home: Path,
    path: Path,
    user_ids: pa.ChunkedArray,
    vectors: np.ndarray,
    position: np.ndarray,
    as_of: int,
    computed_at: int,
) -> None:
    """Write a bucket's vectors: float32 [n, d], positions int64 [n], times in microseconds. The file appears whole."""
    rows = len(vectors)
    table = pa.Table.from_arrays(
        [
            user_ids.combine_chunks(),
            vector_array(vectors),
            pa.array(position, pa.int64()),
            pa.array(np.full(rows, as_of), pa.int64()).cast(TIME),
            pa.array(np.full(rows, computed_at), pa.int64()).cast(TIME),
        ],
        schema=embeddings(vectors.shape[1]),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(home, "vectors") as working:
        pq.write_table(table, working / path.name, compression="zstd")
        (working / path.name).replace(path)


def export(
    repo: FeatureRepo,
    version: EmbeddingVersion,
    out: Path,
    as_of: datetime | None = None,
    progress: Progress | None = None,
) -> Snapshot:
    """Write `user_id` and `vector` of every user of log and users table as of a time (default: the last backfill's).

    Vectors come from a backfill of the same snapshot where there is one, and are computed otherwise.
    Raises Conflict for a version that is not live, InvalidInput when the folder of `out` does not exist.
    """
    if version.state not in LIVE_STATES:
        raise Conflict(f"version {version.id} is {version.state}: only vectors of live versions can be exported")
    if not out.parent.is_dir():
        raise InvalidInput(f"there is no folder {out.parent} to write {out.name} into")
    snapshot = cut_snapshot(repo.log, as_of or version.last_as_of)
    schema = pa.schema([embeddings(version.dimension).field(name) for name in ("user_id", "vector")])
    with (
        replacement(out, durable=False) as scratch,
        pq.ParquetWriter(scratch, schema, compression="zstd") as writer,
    ):
        done = 0
        for table in _tables(repo, version, snapshot):
            writer.write_table(table.select(schema.names).cast(schema))
            done += len(table)
            if progress:
                progress(f"exporting {version.id}", done, snapshot.users)
    return snapshot


def delete_offline(home: Path, version_id: str) -> None:
    """Delete all vectors of a version at rest, if there are any. No reader ever sees half of them.

    Killed in the middle and called again, it goes on.
    """
    folder = version_folder(home, version_id)
    aside = folder.with_name(f".{version_id}.deleting")
    _remove(aside)  # left by a killed call
    if folder.exists():
        folder.rename(aside)
        _remove(aside)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _tables(repo: FeatureRepo, version: EmbeddingVersion, snapshot: Snapshot) -> Iterator[pa.Table]:
    """The vectors of each bucket: those that a backfill of this snapshot has written, computed where there are none."""
    folder = version_folder(repo.settings.home, version.id) / snapshot.id
    encoder: Encoder | None = None
    joins = TeamJoins()
    for bucket in sorted(snapshot.buckets):
        file = bucket_file(folder, bucket)
        if file.exists():
            yield pq.read_table(file, columns=["user_id", "vector"], partitioning=None)
            continue
        if encoder is None:
            encoder = load_encoder(repo.settings.home / version.artifact, version.fingerprint)
            NewItems(repo.log).bring(encoder)
            joins = join_teams(repo, snapshot, version.team_fields)
        users = read_inputs_offline(repo, snapshot, bucket, joins)
        vectors = encoder.encode(users, microseconds(snapshot.as_of))
        yield pa.table({"user_id": users.column("user_id"), "vector": vector_array(vectors)})
