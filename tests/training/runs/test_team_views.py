"""What a team's file does to versions: a correction reaches the next one, a broken file only those that read it."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.schemas import TIME
from portrait.infra.jobs.versions import train_version
from portrait.infra.portrait import Portrait
from portrait.registry.errors import InvalidInput
from portrait.serving.refresh.build import build_shard
from portrait.training.backfill.backfill import backfill
from portrait.training.backfill.vectors_at_rest import export
from portrait.training.evaluation.tasks.evaluate import evaluate
from portrait.training.evaluation.tasks.kinds import LabelTask
from tests.feature_repo.instance import FOLDER
from tests.instances import TINY, TINY_CLUE, USERS, copy_of
from tests.training.pinned.made import labels_file, make_set
from tests.training.stored import users_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TEAM = """
from feast import FeatureView, Field, FileSource
from feast.types import Float32, String

from portrait.feature_repo.entities import user

points = FeatureView(
    name="points",
    entities=[user],
    schema=[Field(name="user_id", dtype=String), Field(name="total", dtype=Float32)],
    source=FileSource(name="points_file", path={path!r}, timestamp_field="at"),
    tags={{"representation_inputs": "true"}},
)
"""


@pytest.fixture
def teams(registered_home: Path, tmp_path: Path) -> Iterator[tuple[Portrait, Path]]:
    """An instance with autoencoder-1, which knows no view, and a team's view with its file."""
    folder, file = tmp_path / "feature_repo", tmp_path / "points.parquet"
    folder.mkdir()
    for name in ("definitions.py", "feature_store.yaml", ".feastignore"):
        shutil.copy(FOLDER / name, folder)
    (folder / "points.py").write_text(TEAM.format(path=str(file)))
    with copy_of(registered_home, tmp_path / "home", feature_repo=folder) as portrait:
        write(portrait, file, 1.0)
        yield portrait, file


def write(portrait: Portrait, file: Path, factor: float) -> None:
    users = users_of(portrait)
    total = pa.array(np.arange(len(users), dtype=np.float32) * np.float32(factor))
    at = pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * len(users), TIME)
    pq.write_table(pa.table({"user_id": users, "total": total, "at": at}), file)


def test_a_broken_file_stops_only_those_who_read_it(teams: tuple[Portrait, Path], tmp_path: Path) -> None:
    portrait, file = teams
    file.unlink()
    version = portrait.registry.versions.get("autoencoder-1")
    assert backfill(portrait.repo, version.id, portrait.settings).embedded == USERS
    shutil.rmtree(portrait.settings.home / "embeddings" / version.id)
    assert export(portrait.repo, version, tmp_path / "out.parquet").users == USERS
    moment = datetime(2024, 9, 1, tzinfo=UTC)
    labels = labels_file(tmp_path / "l.parquet", [{"user_id": u, "event_time": moment} for u in users_of(portrait)])
    assert make_set(portrait, labels, tmp_path / "set.parquet", version.id).rows == USERS

    shard = build_shard(portrait.settings, "shard")
    shard.held.renew()
    shard.once()
    assert shard.refresher.failing == {}
    shard.held.give_back()

    with pytest.raises(
        InvalidInput, match=rf"view points cannot be joined \({file}: there is no such file\).*--exclude"
    ):
        train_version(portrait, "autoencoder", overrides=TINY)
    assert train_version(portrait, "autoencoder", exclude=["points__total"], overrides=TINY).team_fields == ()
    assert train_version(portrait, "clue", overrides=TINY_CLUE).team_fields == ()  # it reads no fields


def test_a_broken_file_ends_no_evaluation_of_a_version_that_never_knew_it(
    teams: tuple[Portrait, Path], tmp_path: Path
) -> None:
    portrait, file = teams
    knowing = train_version(portrait, "autoencoder", overrides=TINY)
    users = users_of(portrait)
    pq.write_table(
        pa.table({"user_id": users, "group": [str(n % 2) for n in range(len(users))]}), tmp_path / "g.parquet"
    )
    task = LabelTask(name="mine", kind="label", labels=str(tmp_path / "g.parquet"), column="group")
    baselines = ["recency", "random-encoder"]
    both = evaluate(portrait.repo, knowing, task, baselines, portrait.settings)
    never = portrait.registry.versions.get("autoencoder-1")
    alone = evaluate(portrait.repo, never, task, [], portrait.settings)
    assert alone.data_stamp == both.data_stamp  # so the two compare
    file.write_bytes(b"PAR1")
    again = evaluate(portrait.repo, never, task, baselines, portrait.settings)
    assert again.data_stamp != both.data_stamp  # the versions that read the file would be measured anew
    assert [line.value for line in again.lines if line.method == never.id] == [line.value for line in alone.lines]
    of_baselines = [
        [(line.method, line.value) for line in found.lines if line.fingerprint is None] for found in (both, again)
    ]
    assert of_baselines[0] == of_baselines[1]
    with pytest.raises(InvalidInput, match="view points cannot be joined"):
        evaluate(portrait.repo, knowing, task, [], portrait.settings)


def test_a_corrected_file_makes_another_model(teams: tuple[Portrait, Path]) -> None:
    portrait, file = teams
    first = train_version(portrait, "autoencoder", overrides=TINY)
    assert first.team_fields == ("points__total",)
    write(portrait, file, -3.0)
    second = train_version(portrait, "autoencoder", overrides=TINY)
    assert second.snapshot == first.snapshot and second.fingerprint != first.fingerprint
    write(portrait, file, 1.0)
    assert train_version(portrait, "autoencoder", overrides=TINY).fingerprint == first.fingerprint


def test_a_backfill_after_a_correction_wins_online(teams: tuple[Portrait, Path], tmp_path: Path) -> None:
    """No event has come between the two: by events and as-of alone the vectors of the wrong file would stay."""
    portrait, file = teams
    id = train_version(portrait, "autoencoder", overrides=TINY).id
    backfill(portrait.repo, id, portrait.settings)
    users = users_of(portrait)
    before = portrait.repo.read_vectors(portrait.registry.versions.get(id), users).vectors
    write(portrait, file, -3.0)
    assert backfill(portrait.repo, id, portrait.settings).written_online == USERS
    version = portrait.registry.versions.get(id)
    export(portrait.repo, version, tmp_path / "out.parquet")
    corrected = np.stack(pq.read_table(tmp_path / "out.parquet").sort_by("user_id")["vector"].to_numpy())
    stored = portrait.repo.read_vectors(version, sorted(users)).vectors
    assert stored.tobytes() == corrected.astype(np.float32).tobytes()
    assert np.abs(stored - before[np.argsort(users)]).max() > 0.1
