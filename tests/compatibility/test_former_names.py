"""Names from before 0.2, which users have in files of their own: importable, with a warning, and never in the way."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from portrait.old_names import MOVED

NAMES = {
    "feature_repo.entities": ["user", "item", "service"],
    "feature_repo.declaration": ["declare"],
    "feature_repo.offline": ["PortraitDuckDBOfflineStore", "PortraitDuckDBOfflineStoreConfig"],
    "feature_repo.online.sqlite": ["PortraitSqliteOnlineStore", "PortraitSqliteOnlineStoreConfig"],
    "feature_repo.online.redis": ["PortraitRedisOnlineStore", "PortraitRedisOnlineStoreConfig"],
    "serving.client": ["AsyncClient", "Client", "ClientError", "Embedding", "Embeddings"],
    "serving.client.errors": ["NotFound", "Unavailable"],
    "training.heads.head": ["load_head"],
}


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own in a folder where nothing of the checkout is on the path."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_each_name_is_the_one_of_today(tmp_path: Path) -> None:
    code = f"""
import importlib, warnings
for old, names in {NAMES!r}.items():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", FutureWarning)
        found = importlib.import_module(old)
    [told] = [one for one in said if one.category is FutureWarning and str(one.message).startswith(old + " ")]
    new = importlib.import_module(str(told.message).split(" is called ")[1].split(" since ")[0])
    assert found is new, old
    for name in names:
        assert getattr(found, name) is getattr(new, name)
print("all")
"""
    answer = python(code, tmp_path)
    assert answer.stdout.strip() == "all", answer.stderr


def test_what_it_says_and_where(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("\nfrom serving.client import Client\n")
    answer = python("import job", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert (
        "job.py:2: FutureWarning: serving.client is called portrait.serving.client since Portrait 0.2" in answer.stderr
    )


@pytest.mark.parametrize("name", MOVED)
def test_every_new_name_is_there(name: str) -> None:
    assert import_module(MOVED[name])


@pytest.mark.parametrize("floor", ["registry", "feature_repo", "training", "serving", "infra"])
@pytest.mark.parametrize("with_init", [True, False])
def test_a_teams_own_folder_of_such_a_name_is_theirs(tmp_path: Path, floor: str, with_init: bool) -> None:
    """In its own repository, with PYTHONPATH=. too; and Portrait works beside it."""
    (tmp_path / floor).mkdir()
    if with_init:
        (tmp_path / floor / "__init__.py").touch()
    (tmp_path / floor / "client.py").write_text("whose = 'the team'")
    code = f"from {floor}.client import whose; print(whose); from portrait import {floor}, serving"
    answer = python(code, tmp_path, PYTHONPATH=".")
    assert (answer.stdout.strip(), answer.stderr) == ("the team", "")


def test_the_command_line_works_where_a_team_has_folders_of_all_these_names(tmp_path: Path) -> None:
    for floor in ("registry", "feature_repo", "training", "serving", "infra"):
        (tmp_path / floor).mkdir()
        (tmp_path / floor / "__init__.py").touch()
    program = Path(sys.executable).with_name("portrait")
    environment = {"PYTHONPATH": ".", "PORTRAIT_HOME": str(tmp_path / "home")}
    answer = subprocess.run([program, "apply"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_in_a_checkout_on_the_path_the_old_names_mean_the_same_modules(tmp_path: Path) -> None:
    checkout = Path(__file__).resolve().parents[2]
    code = "import serving.client as old, portrait.serving.client as new; print(old is new)"
    assert python(code, tmp_path, PYTHONPATH=str(checkout)).stdout.strip() == "True"
    assert python(code, checkout).stdout.strip() == "True"


def test_no_other_module_of_ours_is_importable_at_the_top(tmp_path: Path) -> None:
    for name in ("registry", "infra", "feature_repo.store", "training.clue", "serving.api"):
        answer = python(f"import {name}", tmp_path)
        assert f"ModuleNotFoundError: No module named '{name}'" in answer.stderr


def test_every_module_of_the_client_has_its_old_name() -> None:
    """Else it would be loaded a second time, and its classes would not be those that the client raises and returns."""
    folder = Path(__file__).resolve().parents[2] / "serving" / "client"
    assert {f"serving.client.{file.stem}" for file in folder.glob("[!_]*.py")} <= MOVED.keys()
