"""Studies and unfinished trainings: what they have prepared goes, what a living process holds is told."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.infra.portrait import Portrait
from tests.training.stored import users_of

PREPARED = (
    "artifacts/.unfinished/autoencoder-1/prepared/users.npy",
    "studies/gur/artifacts/.unfinished/autoencoder-2/prepared/users.npy",
    "studies/scale/prepared-64/items.npy",
    "studies/cost/curated/features/one.parquet",
    "studies/cost/shared/online.db",
)


def put(home: Path, *names: str) -> None:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"everybody's events")


def test_what_was_prepared_with_the_user_goes(backfilled: Portrait) -> None:
    home, user = backfilled.settings.home, users_of(backfilled)[0]
    put(home, *PREPARED, "studies/busy/prepared-64/items.npy", "studies/scale/runs.csv", "studies/gur/lines.jsonl")
    snapshot = cut_snapshot(backfilled.log).id
    for name, of in (("one", snapshot), ("two", f"{snapshot}-without"), ("three", "20200101T000000-0123456789ab")):
        put(home, f"studies/gur/artifacts/{name}/run.json")
        (home / f"studies/gur/artifacts/{name}/run.json").write_text(json.dumps({"snapshot": of}))

    assert backfilled.operations.forget("ann", "who is that").found["studies and unfinished trainings"] == 0
    assert all((home / name).exists() for name in PREPARED)

    with FileLock(home / "studies" / "busy" / "lock"):
        report = backfilled.operations.forget("ann", user)
    assert report.found["studies and unfinished trainings"] == len(PREPARED) + 1
    assert report.under_way == 1
    assert not any((home / name).exists() for name in PREPARED)
    kept = ("studies/busy/prepared-64/items.npy", "studies/scale/runs.csv", "studies/gur/lines.jsonl")
    assert all((home / name).exists() for name in kept)
    models = {one.id for one in report.trained if one.state == "model of a study"}
    assert models == {f"studies/gur/artifacts/{name}" for name in ("one", "two", "three")}


def test_labels_in_folders_are_found_too(backfilled: Portrait) -> None:
    user, other = users_of(backfilled)[:2]
    file = backfilled.settings.home / "labels" / "mine" / "set.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": [other, user], "label": [1, 2]}), file)
    assert backfilled.operations.forget("ann", user).found["labels"] == 1
    assert pq.read_table(file)["user_id"].to_pylist() == [other]


def test_what_a_killed_writer_has_left_in_the_rejects_goes(backfilled: Portrait) -> None:
    user = users_of(backfilled)[0]
    left = backfilled.settings.home / "rejects" / ".stream-05-0-0.parquet-0a1b2c3d.writing"
    left.parent.mkdir(exist_ok=True)
    left.write_text(f"PAR1 {user}")
    assert backfilled.operations.forget("ann", user).found["files of killed processes"] == 1
    assert not left.exists()
