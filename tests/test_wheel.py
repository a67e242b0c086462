"""The wheel outside a checkout: what is in it, and that commands, Feast and Ray workers run on it from any folder."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.test_floors import FLOORS, ROOT

RAY = """
import ray
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")

@ray.remote
def place() -> str:
    import portrait.training.encoding.arrays
    return portrait.training.encoding.arrays.__file__

print(ray.get(place.remote()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    # Not in the checkout's build/, where modules of an earlier build may lie that are gone since.
    (folder / "build.cfg").write_text(f"[build]\nbuild_base = {folder}/build\n[egg_info]\negg_base = {folder}\n")
    apart = os.environ | {"DIST_EXTRA_CONFIG": str(folder / "build.cfg")}
    subprocess.run(command, check=True, cwd=folder, env=apart, timeout=300)
    [file] = folder.glob("portrait-*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, and with the dependencies of this one but not its checkout."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(command, check=True, timeout=120)
    return folder


def run(environment: Path, folder: Path, *command: str) -> str:
    """What a program of the environment prints, in a folder and with a home of its own."""
    variables = {"PORTRAIT_HOME": str(folder / "home"), "PATH": f"{environment}/bin:/usr/bin:/bin", "HOME": str(folder)}
    program = [str(environment / "bin" / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_one_package_and_the_file_of_old_names(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"portrait", "portrait_old_names.pth"}
    tracked = subprocess.run(["git", "ls-files", *FLOORS], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = {f"portrait/{name}" for name in tracked.splitlines() if (ROOT / name).is_file()}
    ours |= {f"portrait/{name}" for name in ("__init__.py", "old_names.py", "py.typed", "quick_typeguard.py")}
    ours -= {"portrait/infra/migrations/alembic.ini"}  # for who writes a migration, in a checkout
    assert {name for name in names if name.startswith("portrait/")} == ours


def test_the_program_that_starts_haproxy_may_be_executed(environment: Path) -> None:
    [program] = environment.rglob("portrait/serving/gateway/haproxy.sh")
    assert os.access(program, os.X_OK)


def test_commands_work_from_any_folder(environment: Path, tmp_path: Path) -> None:
    assert run(environment, tmp_path, "portrait", "--version").startswith("portrait 0.2.0")
    run(environment, tmp_path, "portrait", "apply")
    assert json.loads(run(environment, tmp_path, "portrait", "versions", "--json")) == []
    place = run(environment, tmp_path, "python", "-c", "import portrait.serving.client as c; print(c.__file__)")
    assert place.startswith(str(environment))
    assert "Client" in run(environment, tmp_path, "python", "-c", "from serving.client import Client; print(Client)")


def test_ray_workers_import_the_wheel(environment: Path, tmp_path: Path) -> None:
    assert run(environment, tmp_path, "python", "-c", RAY).strip().startswith(str(environment))
