"""Vectors at rest and `export`."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.schemas import embeddings
from portrait.infra.portrait import Portrait
from portrait.registry.errors import Conflict, InvalidInput
from portrait.training.backfill import vectors_at_rest as module
from portrait.training.backfill.backfill import backfill
from portrait.training.backfill.vectors_at_rest import (
    bucket_file,
    delete_offline,
    export,
    version_folder,
    write_vectors,
)
from tests.instances import USERS
from tests.training.stored import offline, offline_files, online, users_of

AUTUMN = datetime(2024, 9, 1, tzinfo=UTC)


def exported(portrait: Portrait, out: Path, as_of: datetime | None = None, version: str = "autoencoder-1") -> pa.Table:
    export(portrait.repo, portrait.registry.versions.get(version), out, as_of)
    return pq.read_table(out).sort_by("user_id")


def numbers(table: pa.Table) -> bytes:
    return bytes(table.column("vector").combine_chunks().flatten().to_numpy().tobytes())


def test_export_writes_a_row_for_everybody(backfilled: Portrait, tmp_path: Path) -> None:
    table = exported(backfilled, tmp_path / "vectors.parquet")
    assert table.schema.types == [pa.string(), pa.list_(pa.float32(), 16)]
    assert table.column_names == ["user_id", "vector"]
    assert table.column("user_id").to_pylist() == users_of(backfilled) and table.num_rows == USERS
    assert numbers(table) == online(backfilled).vectors
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["vectors.parquet"]


def test_export_as_of_another_time_computes_what_a_backfill_would(
    either_backfilled: Portrait, version_id: str, tmp_path: Path
) -> None:
    now = exported(either_backfilled, tmp_path / "now.parquet", version=version_id)
    computed = exported(either_backfilled, tmp_path / "autumn.parquet", AUTUMN, version=version_id)
    assert computed.column("user_id").equals(now.column("user_id"))
    assert numbers(computed) != numbers(now)
    report = backfill(either_backfilled.repo, version_id, either_backfilled.settings, AUTUMN)
    assert numbers(computed) == offline(either_backfilled, report.snapshot, version_id).vectors
    assert exported(either_backfilled, tmp_path / "again.parquet", AUTUMN, version=version_id).equals(computed)


def test_export_of_a_version_without_vectors_computes_as_of_the_logs_end(registered: Portrait, tmp_path: Path) -> None:
    version = registered.registry.versions.get("autoencoder-1")
    snapshot = export(registered.repo, version, tmp_path / "vectors.parquet")
    assert snapshot.as_of == cut_snapshot(registered.log).as_of
    assert pq.read_metadata(tmp_path / "vectors.parquet").num_rows == USERS
    assert online(registered).users == []  # exporting writes nothing but its file


def test_export_fills_the_buckets_that_an_unfinished_pass_has_not_written(backfilled: Portrait, tmp_path: Path) -> None:
    whole = exported(backfilled, tmp_path / "whole.parquet")
    for file in offline_files(backfilled, cut_snapshot(backfilled.log).id)[::2]:
        file.unlink()
    assert exported(backfilled, tmp_path / "filled.parquet").equals(whole)


def test_export_refuses_what_it_cannot_do(backfilled: Portrait, tmp_path: Path) -> None:
    version = backfilled.registry.versions.get("autoencoder-1")
    with pytest.raises(InvalidInput, match=r"no folder .*nowhere"):
        export(backfilled.repo, version, tmp_path / "nowhere" / "vectors.parquet")
    backfilled.registry.versions.fail(version.id, "wrong data")
    with pytest.raises(Conflict, match=r"autoencoder-1 is failed"):
        exported(backfilled, tmp_path / "vectors.parquet")
    assert not (tmp_path / "vectors.parquet").exists()


def test_a_broken_export_leaves_the_former_file(
    backfilled: Portrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = exported(backfilled, tmp_path / "vectors.parquet")
    monkeypatch.setattr(module, "load_encoder", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exported(backfilled, tmp_path / "vectors.parquet", AUTUMN)
    assert pq.read_table(tmp_path / "vectors.parquet").sort_by("user_id").equals(before)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["vectors.parquet"]


def test_a_file_of_vectors_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    users = pa.chunked_array([["a", "b"], ["c"]])
    path = tmp_path / "version" / "bucket=00.parquet"
    write_vectors(tmp_path, path, users, vectors, np.array([3, 2, 1]), as_of=10, computed_at=20)
    table = pq.read_table(path, partitioning=None)
    assert table.schema.equals(embeddings(2))
    assert np.array(table.column("vector").to_pylist(), np.float32).tobytes() == vectors.tobytes()
    assert table.column("position").to_pylist() == [3, 2, 1]
    write_vectors(tmp_path, path, users.slice(0, 0), vectors[:0], np.array([], np.int64), as_of=11, computed_at=21)
    assert pq.read_table(path, partitioning=None).num_rows == 0
    assert list(path.parent.iterdir()) == [path]


def test_a_versions_files_are_deleted_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("autoencoder-1", "autoencoder-2"):
        for snapshot in ("old", "new"):
            file = bucket_file(version_folder(tmp_path, version) / snapshot, 3)
            file.parent.mkdir(parents=True)
            file.write_text(version)

    def killed(folder: Path) -> None:
        (folder / "old" / "bucket=03.parquet").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("portrait.training.backfill.vectors_at_rest.shutil.rmtree", killed)
        delete_offline(tmp_path, "autoencoder-1")
    assert not version_folder(tmp_path, "autoencoder-1").exists()
    delete_offline(tmp_path, "autoencoder-1")
    delete_offline(tmp_path, "autoencoder-1")
    assert [path.name for path in (tmp_path / "embeddings").iterdir()] == ["autoencoder-2"]
    assert len(list(version_folder(tmp_path, "autoencoder-2").rglob("*.parquet"))) == 2
