"""The example of a team's own view: the file, Feast's own `apply`, and a model that sees the new blocks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait import feature_repo
from portrait.feature_repo.declaration.environment import feast_environment
from portrait.feature_repo.history.point_in_time import ASKED
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import TIME
from portrait.feature_repo.store.offline_inputs import read_inputs_at
from portrait.infra.jobs.versions import train_version
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.settings import PROJECT_ROOT
from portrait.training.backfill.vectors_at_rest import export
from portrait.training.encoding.artifact import load_content
from tests.instances import TINY, copy_of
from tests.training.pinned.made import labels_file, make_set, vectors_of
from tests.training.stored import users_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def instance(registered_home: Path, tmp_path: Path) -> Iterator[Portrait]:
    """An instance with autoencoder-1, whose folder of definitions is a copy that a team may add files to."""
    folder = tmp_path / "feature_repo"
    folder.mkdir()
    for name in ("definitions.py", "feature_store.yaml", ".feastignore"):
        shutil.copy(Path(feature_repo.__file__).resolve().parent / name, folder)
    with copy_of(registered_home, tmp_path / "home", feature_repo=folder) as portrait:
        yield portrait


def feast_apply(settings: Settings) -> str:
    """What the real command line prints."""
    program = Path(sys.executable).with_name("feast")
    done = subprocess.run(
        [program, "apply"],
        cwd=settings.feature_repo,
        env={**os.environ, **feast_environment(settings)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def trained(settings: Settings) -> tuple[EmbeddingVersion, dict[str, Any]]:
    """A version of the same config, seed and snapshot as autoencoder-1, and the layout of its row."""
    with Portrait.open(settings) as portrait:
        version = train_version(portrait, "autoencoder", overrides=TINY)
    content = load_content(settings.home / version.artifact, version.fingerprint)
    return version, content.document["layout"]


def write_loyalty(portrait: Portrait) -> None:
    """A row for every other user."""
    users = users_of(portrait)[::2]
    table = pa.table(
        {
            "user_id": users,
            "points": pa.array([float(100 * number % 1700) for number in range(len(users))], pa.float32()),
            "tier": [("bronze", "silver", "gold")[number % 3] for number in range(len(users))],
            "updated_at": pa.array([datetime(2024, 3, 1, tzinfo=UTC)] * len(users), TIME),
        }
    )
    (portrait.settings.home / "teams").mkdir()
    pq.write_table(table, portrait.settings.home / "teams" / "loyalty.parquet")


def test_a_teams_view_becomes_blocks_of_the_model(instance: Portrait) -> None:
    settings, first = instance.settings, instance.registry.versions.get("autoencoder-1")
    same, before = trained(settings)
    assert same.fingerprint == first.fingerprint  # so that what differs below is the team's doing
    assert "loyalty" not in str(before)

    write_loyalty(instance)
    shutil.copy(PROJECT_ROOT / "examples" / "loyalty.py", settings.feature_repo)
    assert "Created feature view" in (said := feast_apply(settings)) and "loyalty" in said

    version, layout = trained(settings)
    assert version.fingerprint != first.fingerprint
    assert set(layout["numbers"]) - set(before["numbers"]) == {"loyalty__points"}
    assert {name for name, _ in layout["categories"]} - {name for name, _ in before["categories"]} == {"loyalty__tier"}
    [fields] = [version.feature_schema["team"]]
    assert {field["name"] for field in fields} == {"loyalty__points", "loyalty__tier"}
    assert first.feature_schema["team"] == []
    assert_training_sets_have_it_as_of_each_label(settings, version)


def assert_training_sets_have_it_as_of_each_label(settings: Settings, version: EmbeddingVersion) -> None:
    """Values count from just after the time they are of, and the vectors are those of an export of that time."""
    moments = [datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 9, 1, tzinfo=UTC)]
    with Portrait.open(settings) as portrait:
        users = users_of(portrait)
        asked = pa.table({"user_id": [users[0]] * 3, "as_of": moments}, schema=ASKED)
        [rows] = read_inputs_at(portrait.repo, bucket_of(users[0]), asked)
        assert rows["loyalty__tier"].to_pylist() == [None, None, "bronze"]
        assert rows["loyalty__points"].to_pylist() == [None, None, 0.0]
        labels = labels_file(settings.home / "l.parquet", [{"user_id": u, "event_time": moments[2]} for u in users])
        make_set(portrait, labels, settings.home / "set.parquet", version.id)
        export(portrait.repo, version, settings.home / "export.parquet", moments[2])
    found, exported = (
        pq.read_table(settings.home / f"{name}.parquet").sort_by("user_id") for name in ("set", "export")
    )
    np.testing.assert_allclose(vectors_of(found), vectors_of(exported), rtol=0, atol=1e-5)
