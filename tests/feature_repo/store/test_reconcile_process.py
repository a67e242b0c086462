"""Reconciling of Feast: it follows the registry after a crash, and no served answer changes by it."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.reconcile import reconcile
from portrait.feature_repo.store.reconcile_process import (
    generations_behind,
    reconcile_in_process_of_its_own,
    settings_environment,
)
from portrait.registry.errors import RegistryMissing
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.serving_state.serving_state import read_state, record_projected
from tests.feature_repo.instance import make_ready, promote, register, require_nothing_to_do, retire, write
from tests.feature_repo.processes import PLACES, promote_and_apply, promote_and_die, start
from tests.forks import FORKS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

USERS = ["ann", "bob", "zoe"]


def services(repo: FeatureRepo) -> dict[str, str]:
    """The version behind each consumer's service, as Feast's registry has it now."""
    found = repo.feast.registry.list_feature_services("portrait")
    return {service.name: service.tags["version"] for service in found if "version" in service.tags}


def views(repo: FeatureRepo) -> set[str]:
    found = repo.feast.registry.list_feature_views("portrait")
    return {view.tags["version"] for view in found if "version" in view.tags}


def vectors(seed: int) -> np.ndarray:
    drawn: np.ndarray = np.random.default_rng(seed).normal(size=(len(USERS), 3)).astype(np.float32)
    return drawn


def stored(repo: FeatureRepo, version: EmbeddingVersion) -> tuple[bytes, list[int], list[int]]:
    rows = repo.read_vectors(version, USERS)
    return rows.vectors.tobytes(), rows.position.tolist(), rows.as_of.tolist()


def test_applying_records_what_it_has_shown(repo: FeatureRepo) -> None:
    database = repo.registry.database
    version = register(repo)
    assert generations_behind(database) > 0
    repo.apply()
    assert generations_behind(database) == 0
    promote(repo, "ranker", version)
    behind = generations_behind(database)
    assert behind > 0
    record_projected(database, 1)  # of an apply that began long ago
    assert generations_behind(database) == behind
    assert reconcile(repo.settings) and services(repo) == {"ranker": "autoencoder-1"}
    assert generations_behind(database) == 0
    assert not reconcile(repo.settings)


def test_a_change_during_an_apply_is_not_taken_for_shown(repo: FeatureRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    from portrait.feature_repo.store import feature_repo as store

    first = register(repo)
    really = store.synchronise

    def promoted_meanwhile(*arguments: object) -> list[str]:
        changes: list[str] = really(*arguments)
        promote(repo, "ranker", first)
        return changes

    with monkeypatch.context() as patched:
        patched.setattr(store, "synchronise", promoted_meanwhile)
        repo.apply()
    assert services(repo) == {}
    assert generations_behind(repo.registry.database) > 0
    repo.apply()
    assert services(repo) == {"ranker": "autoencoder-1"}


@pytest.mark.slow
def test_a_crash_between_the_commit_and_feast_heals(repo: FeatureRepo) -> None:
    """Killed at three places; healed by a process of its own, by reconciling here, and by the next apply."""
    stays = register(repo)
    repo.apply()
    write(repo, stays, vectors(0), USERS)
    before, expected = stored(repo, stays), {}
    heals: tuple[Callable[[], Any], ...] = (
        lambda: reconcile_in_process_of_its_own(repo.settings).check_returncode(),
        lambda: reconcile(repo.settings),
        repo.apply,
    )
    for number, (place, heal) in enumerate(zip(PLACES, heals, strict=True), start=2):
        version, consumer = register(repo, number), f"consumer_{number}"
        process = start(promote_and_die, repo.settings, version.id, consumer, place)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, place
        assert read_state(repo.registry.database).assignments[consumer].stable == version.id
        assert generations_behind(repo.registry.database) > 0
        assert (consumer in services(repo)) == (place == "before it is recorded")
        assert stored(repo, stays) == before
        expected[consumer] = version.id
        heal()
        assert services(repo) == expected
        assert views(repo) == {stays.id, *expected.values()}
        assert generations_behind(repo.registry.database) == 0
        assert write(repo, version, vectors(number), USERS) == len(USERS)
        assert stored(repo, stays) == before
    require_nothing_to_do(repo.settings, "plan")
    assert stored(repo, stays) == before


@pytest.mark.slow
def test_two_processes_that_apply_at_once_lose_nothing(repo: FeatureRepo) -> None:
    version = register(repo)
    repo.apply()
    write(repo, version, vectors(0), USERS)
    before = stored(repo, version)
    make_ready(repo, version)
    names, together = [[f"{side}_{number}" for number in range(3)] for side in ("left", "right")], FORKS.Barrier(2)
    processes = [start(promote_and_apply, repo.settings, version.id, side, together) for side in names]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert services(repo) == {name: version.id for side in names for name in side}
    assert generations_behind(repo.registry.database) == 0
    assert stored(repo, version) == before
    assert repo.apply() == []


def test_a_view_leaves_by_applying_alone_and_a_failed_versions_stays(repo: FeatureRepo) -> None:
    going, failed, ready = (register(repo, number) for number in (1, 2, 3))
    repo.apply()
    for seed, version in enumerate((going, failed, ready)):
        write(repo, version, vectors(seed), USERS)
    repo.registry.versions.fail(failed.id, "the loss is not finite")
    retire(repo.registry, going)
    assert views(repo) == {going.id, failed.id, ready.id}
    assert stored(repo, going)[0] == vectors(0).tobytes()
    assert reconcile(repo.settings)
    assert views(repo) == {failed.id, ready.id}
    assert repo.has_view(going) == bool(repo.settings.online_store_url)  # Redis has a place for whatever comes
    assert stored(repo, failed)[0] == vectors(1).tobytes()
    assert stored(repo, ready)[0] == vectors(2).tobytes()
    retire(repo.registry, going, "retired")
    assert repo.apply() == []


def test_settings_reach_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FeatureSettings(
        home=tmp_path / "here",
        registry_url="postgresql://ann:secret@db/portrait",
        feast_registry_url="postgresql://db/feast",
        online_store_url="redis://cache:6379/3",
        feature_repo=tmp_path / "repo",
        history_length=7,
        ingest_memory="3GB",
    )
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert FeatureSettings() == settings


def test_without_a_registry_it_says_so(tmp_path: Path) -> None:
    settings = FeatureSettings(home=tmp_path, registry_url="", feast_registry_url="", online_store_url="")
    result = reconcile_in_process_of_its_own(settings)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Feast was not brought up to date: there is no registry at" in result.stderr
    with pytest.raises(RegistryMissing):
        reconcile(settings)
    assert list(tmp_path.iterdir()) == []


def test_looking_needs_no_feast() -> None:
    code = "import sys, portrait.feature_repo.store.reconcile; print('feast' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
