"""Files of teams, wherever they put them and whatever they call them: Feast sees them, or applying is refused."""

import shutil
from pathlib import Path

import pytest

from portrait.feature_repo.declaration.team_files import PACKAGE
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import InvalidInput
from tests.feature_repo.instance import feast, require_nothing_to_do

pytestmark = [
    pytest.mark.parametrize("settings", ["embedded"], indirect=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

FORMER = (PACKAGE.parent / "tests" / "compatibility" / "feature_repo" / ".feastignore").read_text()
VIEW = """
from feast import FeatureView, Field, FileSource
from feast.types import Float32, String

from portrait.feature_repo.entities import user

loyalty = FeatureView(
    name="loyalty",
    entities=[user],
    schema=[Field(name="user_id", dtype=String), Field(name="points", dtype=Float32)],
    source=FileSource(name="loyalty_file", path="/nowhere/loyalty.parquet", timestamp_field="at"),
    tags={"representation_inputs": "true"},
)
"""
SEEN = "created feature view loyalty"


def put(repo: FeatureRepo, path: str, text: str = VIEW) -> Path:
    """A file of a team in the folder of `feast apply`."""
    file = repo.settings.feature_repo / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("path", ["inputs.py", "fraud/views.py", "log/tail.py", "views/loyalty.py"])
def test_a_teams_file_is_seen_wherever_it_is(repo: FeatureRepo, path: str) -> None:
    if path == "log/tail.py":  # a module of ours has this name: the copied .feastignore hides it
        (repo.settings.feature_repo / ".feastignore").unlink()
    put(repo, path)
    assert SEEN in repo.apply()
    assert [feature.column for feature in repo.team_views()] == ["loyalty__points"]
    require_nothing_to_do(repo.settings, "plan")
    put(repo, path, VIEW.replace("points", "stamps"))
    assert "updated feature view loyalty" in repo.apply()  # read anew in the same process


@pytest.mark.parametrize(
    ("path", "line"), [("fraud/views.py", "*/**/*.py"), ("inputs.py", "inputs.py"), ("team.py", "team.py")]
)
def test_what_a_former_feastignore_hides_is_refused(repo: FeatureRepo, path: str, line: str) -> None:
    (repo.settings.feature_repo / ".feastignore").write_text(FORMER)
    file = put(repo, path)
    with pytest.raises(InvalidInput) as refused:
        repo.apply()
    assert f"Feast would overlook {file}" in str(refused.value) and repr(line) in str(refused.value)
    answer = feast(repo.settings, "apply")
    assert answer.returncode != 0 and f"Feast would overlook {file}" in answer.stderr
    with (repo.settings.feature_repo / ".feastignore").open("a") as lines:
        lines.write(f"./{path}  # on purpose\n")
    assert SEEN not in repo.apply()


@pytest.mark.parametrize("name", ["schemas.py", "settings.py", "log/tail.py"])
def test_a_teams_file_with_a_name_of_ours_is_refused(repo: FeatureRepo, name: str) -> None:
    file = put(repo, name)
    with pytest.raises(InvalidInput, match=f"Feast would overlook {file}: the line '{name}'"):
        repo.apply()


@pytest.mark.parametrize("path", ["json.py", "torch.py", "redis/client.py", "math.py"])
def test_a_file_with_the_name_of_another_module_is_refused(repo: FeatureRepo, path: str) -> None:
    file = put(repo, path)
    with pytest.raises(InvalidInput, match=f"Feast would overlook {file}: Python takes `import "):
        repo.apply()


def test_what_a_teams_file_cannot_import_is_told_as_it_is(repo: FeatureRepo) -> None:
    put(repo, "views.py", "import a_module_that_nobody_has")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        repo.apply()


def test_a_copy_of_the_whole_package_hides_ours_and_no_team(repo: FeatureRepo) -> None:
    folder = repo.settings.feature_repo
    shutil.copytree(PACKAGE, folder, dirs_exist_ok=True)
    assert "created feature view user_history" in repo.apply()
    put(repo, "log/loyalty.py")
    assert SEEN in repo.apply()
    (folder / "log" / "loyalty.py").unlink()
    file = put(repo, "log/tail.py")
    with pytest.raises(InvalidInput, match=f"Feast would overlook {file}"):
        repo.apply()
