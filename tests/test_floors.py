"""Imports between floors only point down: registry 1, feature_repo 2, training 3, serving 4, infra 5."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ["registry", "feature_repo", "training", "serving", "infra"]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {top(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "portrait":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(top(node.module))
    return names


def top(module: str) -> str:
    """The floor of a module of ours, the distribution's package of any other."""
    return module.removeprefix("portrait.").split(".")[0]


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor: str) -> None:
    above = set(FLOORS[FLOORS.index(floor) + 1 :])
    files = list((ROOT / floor).rglob("*.py"))
    assert files
    upward = {str(path.relative_to(ROOT)): imported(path) & above for path in files}
    assert {path: names for path, names in upward.items() if names} == {}


def test_the_registry_knows_nothing_of_the_platforms() -> None:
    for path in (ROOT / "registry").rglob("*.py"):
        assert not imported(path) & {"feast", "torch", "ray", "duckdb"}, path


@pytest.mark.parametrize(
    "module",
    ["autoencoder/config.py", "autoencoder/model.py", "blocks/blocks.py", "blocks/context.py", "blocks/regularity.py"],
)
def test_the_models_own_modules_need_only_torch_and_numpy(module: str) -> None:
    own = {"torch", "numpy", "training"}
    assert imported(ROOT / "training" / module) - own <= set(sys.stdlib_module_names)


def test_the_client_is_light() -> None:
    heavy = ("torch", "ray", "feast", "duckdb", "pandas")
    code = f"import sys, portrait.serving.client; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"
