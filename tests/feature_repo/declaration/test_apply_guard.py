"""Guards of applying in a copied home: the original's vectors stay, which Feast itself would drop."""

import shutil
from pathlib import Path

import pytest

from portrait.feature_repo.declaration.apply import parse_definitions
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.infra.portrait import Portrait
from portrait.registry.errors import InvalidInput, RegistryForeign
from tests.instances import USERS, embedded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def count(portrait: Portrait) -> int:
    return portrait.repo.count_vectors(portrait.registry.versions.get("autoencoder-1"))


def test_applying_in_a_copy_leaves_the_original_alone(backfilled: Portrait, tmp_path: Path) -> None:
    shutil.copytree(backfilled.settings.home, tmp_path / "copy")
    with Portrait.prepare(embedded(tmp_path / "copy")) as copied:
        with pytest.raises(RegistryForeign, match=r"would drop them.*run `portrait apply` first"):
            parse_definitions(copied.settings)  # what Feast's own apply does first
        assert copied.repo.apply()
        parse_definitions(copied.settings)
        assert copied.repo.apply() == []
        assert count(copied) == USERS
    assert count(backfilled) == USERS


def test_a_moved_home_works(backfilled: Portrait, tmp_path: Path) -> None:
    backfilled.settings.home.rename(tmp_path / "moved")
    with Portrait.prepare(embedded(tmp_path / "moved")) as moved:
        moved.repo.apply()
        assert count(moved) == USERS
        assert not backfilled.settings.home.exists()


def test_a_home_whose_former_folder_is_gone_works(backfilled: Portrait, tmp_path: Path) -> None:
    """Feast opens the databases that its registry names, and fails where there is no folder to make one in."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    backfilled.settings.home.rename(deep / "home")
    with Portrait.prepare(embedded(deep / "home")) as there:
        there.repo.apply()
    (deep / "home").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "a")
    with Portrait.prepare(embedded(tmp_path / "moved")) as moved:
        moved.repo.apply()
        assert count(moved) == USERS
    assert not (tmp_path / "a").exists()


def test_another_path_for_the_online_store_gets_tables_of_its_own(backfilled: Portrait, tmp_path: Path) -> None:
    elsewhere = embedded(backfilled.settings.home, online_store_url=f"sqlite:///{tmp_path / 'elsewhere.db'}")
    with Portrait.prepare(elsewhere) as other:
        other.repo.apply()
        assert count(other) == 0
    assert count(backfilled) == USERS


@pytest.mark.parametrize("settings", ["embedded"], indirect=True)
def test_feasts_own_store_is_refused(repo: FeatureRepo) -> None:
    file = repo.settings.feature_repo / "feature_store.yaml"
    text = file.read_text().replace('"${PORTRAIT_FEAST_ONLINE_TYPE}"', "sqlite").replace("location:", "path:")
    file.write_text(text)
    with pytest.raises(
        InvalidInput, match=r"SqliteOnlineStore, which lets an older vector replace a newer one: write `typ"
    ):
        parse_definitions(repo.settings)
