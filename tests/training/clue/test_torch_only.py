"""The torch-only core of CLUE: it runs where no other module of Portrait is."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).resolve().parents[3] / "training"
CORE = ["sizes", "batch", "transformer", "model", "objective", "like_length", "gradient_cache", "flops"]


@pytest.mark.parametrize("name", CORE)
def test_a_core_module_imports_torch_and_the_core_alone(name: str) -> None:
    allowed = {"torch", *sys.stdlib_module_names} | {f"portrait.training.clue.{other}" for other in CORE}
    for node in ast.walk(ast.parse((TRAINING / "clue" / f"{name}.py").read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules.append(str(node.module))
        assert all(module in allowed or module.split(".")[0] in allowed for module in modules), modules


def test_the_core_trains_where_no_other_module_of_ours_is(tmp_path: Path) -> None:
    package = tmp_path / "portrait"
    (package / "training" / "clue").mkdir(parents=True)
    (package / "__init__.py").touch()
    for path in [TRAINING / "__init__.py", *(TRAINING / "clue" / f"{name}.py" for name in ["__init__", *CORE])]:
        shutil.copy(path, package / path.relative_to(TRAINING.parent))
    code = """
import sys
floors = [f"portrait.{floor}" for floor in ("registry", "feature_repo", "serving", "infra")]
missing = [*floors, *"pyarrow pandas scipy sklearn ray feast safetensors".split()]
sys.modules.update({name: None for name in missing})
import torch
from portrait.training.clue import batch, flops, gradient_cache, model, objective, sizes
nano = sizes.SIZES["nano"]
shape = model.Shape.from_size(nano, vocabulary=9, text_length=3, actions=1, sequence_length=2, dimension=4)
torch.manual_seed(0)  # an unlucky draw tells the two users apart so well that the loss rounds to 0
clue = model.Clue(shape)
events = batch.Sequences(*torch.tensor([[[0, 1], [2, 3]], [[1, 1], [1, 1]], [[0, 4], [0, 5]]]))
users = batch.Batch(torch.arange(1, 9).view(4, 2), events, events)
print(float(gradient_cache.step(clue, objective.Contrast(), users, chunk=1)) > 0)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert answer.stdout.strip() == "True", answer.stderr
