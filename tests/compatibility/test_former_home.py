"""What 0.1.0 has left behind works as it is: its home, and a team's copy of the folder of `feast apply`."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from portrait.feature_repo.declaration.environment import feast_environment
from portrait.infra.portrait import Portrait
from portrait.training.heads.head import load_head
from tests.instances import embedded

HERE = Path(__file__).parent
USERS = ("u000000", "u000001", "u000002", "nobody")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Portrait]:
    """A home that 0.1.0 made: 64 users, autoencoder-1 which `ranker` reads, a head; and a team's folder."""
    with tarfile.open(HERE / "home-0.1.0.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    shutil.copytree(HERE / "feature_repo", tmp_path / "feature_repo", ignore=shutil.ignore_patterns("loyalty.py"))
    with Portrait.prepare(embedded(tmp_path / "home", feature_repo=tmp_path / "feature_repo")) as portrait:
        yield portrait


def run(portrait: Portrait, program: str, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """A program of this environment, with the settings of the instance."""
    environment = {**os.environ, **feast_environment(portrait.settings), **changed}
    command = [Path(sys.executable).with_name(program), *arguments]
    folder = portrait.settings.feature_repo
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_vectors_are_those_that_the_former_code_answered(instance: Portrait) -> None:
    instance.repo.apply()
    expected = json.loads((HERE / "expected.json").read_text())["embeddings"]
    answer = run(instance, "portrait", "get", "ranker", *USERS, "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)["embeddings"]
    told = ("user_id", "vector", "version", "fingerprint", "lane", "source", "as_of", "stale")
    assert [[one[name] for name in told] for one in found] == [[one[name] for name in told] for one in expected]


def test_the_artifact_and_the_head_load(instance: Portrait) -> None:
    answer = run(instance, "portrait", "backfill", "autoencoder-1")  # loads, encodes the probe, embeds everybody
    assert answer.returncode == 0, answer.stderr
    version = instance.registry.versions.get("autoencoder-1")
    [record] = instance.registry.heads.list("ranker")
    head = load_head(instance.settings.home / record.location)
    vectors = instance.repo.read_vectors(version, USERS[:3]).vectors
    scores = head.scores(np.asarray(vectors, np.float32), version.fingerprint)
    assert scores.shape[0] == 3 and np.isfinite(scores).all()


def test_plain_feast_applies_a_teams_folder_of_that_time(instance: Portrait) -> None:
    """With the store's old name in feature_store.yaml, and old names in definitions.py and in the team's own file."""
    assert (
        "feature_repo.offline.PortraitDuckDBOfflineStore" in (HERE / "feature_repo" / "feature_store.yaml").read_text()
    )
    instance.repo.apply()  # Feast's sources lie in the new home
    shutil.copy(HERE / "feature_repo" / "loyalty.py", instance.settings.feature_repo)
    former = {"PORTRAIT_FEAST_ONLINE_TYPE": "feature_repo.online.sqlite.PortraitSqliteOnlineStore"}
    answer = run(instance, "feast", "apply", **former)
    assert answer.returncode == 0, answer.stderr
    assert "Created feature view" in answer.stdout and "loyalty" in answer.stdout
    assert "feature_repo.offline is called portrait.feature_repo.declaration.offline_store" in answer.stderr
    again = run(instance, "feast", "plan", **former)
    assert again.returncode == 0 and "No changes to registry" in again.stdout, again.stderr
    assert [feature.column for feature in instance.repo.team_views()] == ["loyalty__points", "loyalty__tier"]
