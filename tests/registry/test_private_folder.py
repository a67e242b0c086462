"""The folder of a process: nobody else enters it, and the next process removes it with what still runs there."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.registry.errors import Conflict
from portrait.registry.private_folder import LOCK, PREFIX, RAY, make_private, sweep
from tests.processes_of_a_machine import alive

MAKE = "from portrait.registry.private_folder import private_folder as made; print(made(), flush=True); input()"
WAIT = "import time; time.sleep(60)"


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory whose path is as short as that of /tmp."""
    folder = Path(f"/tmp/{os.getpid():x}")
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def process_with_a_folder() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def server(name: str, folder: Path) -> "subprocess.Popen[bytes]":
    """A process that calls itself `name` and has a file of the folder as its argument."""
    return subprocess.Popen([name, "-c", WAIT, f"{folder}/8000/haproxy.cfg"], executable=sys.executable)


def test_it_is_ours_alone_and_lasts_as_long_as_its_process(temporary: Path) -> None:
    process, folder = process_with_a_folder()
    with process:
        assert folder.parent == temporary and folder.name.startswith(PREFIX)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        sweep()
        assert folder.exists()
        process.kill()
    sweep()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("own_ray", [True, False])
def test_what_a_killed_process_left_running_is_ended(temporary: Path, own_ray: bool) -> None:
    process, folder = process_with_a_folder()
    if own_ray:
        (folder / RAY).mkdir()
    with process, server("/usr/sbin/haproxy", folder) as left, server("tail", folder) as another:
        sweep()
        assert left.poll() is None, "its process lives"
        process.kill()
        process.wait()
        sweep()
        assert left.wait(5) == -9
        assert another.poll() is None, "a person may look at a log"
        another.kill()
    assert not folder.exists()


def test_the_haproxy_of_a_cluster_that_was_joined_goes_on(temporary: Path) -> None:
    process, folder = process_with_a_folder()
    start = (
        f"import subprocess; subprocess.run(['haproxy', '-c', {WAIT!r}, {str(folder / 'x.cfg')!r}], "
        f"executable={sys.executable!r})"
    )
    with process, subprocess.Popen(["ray::HAProxyManager", "-c", start], executable=sys.executable) as actor:
        children = Path(f"/proc/{actor.pid}/task/{actor.pid}/children")
        while not children.read_text():
            time.sleep(0.02)
        (haproxy,) = map(int, children.read_text().split())
        while b"haproxy" not in Path(f"/proc/{haproxy}/cmdline").read_bytes().split(b"\0")[0]:
            time.sleep(0.02)
        process.kill()
        process.wait()
        sweep()
        assert folder.exists() and Path(f"/proc/{haproxy}").exists()
        actor.kill()
        actor.wait()
        sweep()
        assert not folder.exists() and not any(alive({haproxy}))


def test_a_folder_that_is_not_of_this_kind_stays(temporary: Path) -> None:
    (temporary / f"{PREFIX}benchmark-1").mkdir()
    named_alike = temporary / f"{PREFIX}mine"
    named_alike.symlink_to(temporary / f"{PREFIX}benchmark-1")
    sweep()
    assert named_alike.is_symlink() and (temporary / f"{PREFIX}benchmark-1").is_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of somebody else's")
def test_a_folder_of_somebody_else_is_neither_used_nor_removed(temporary: Path) -> None:
    theirs = temporary / f"{PREFIX}12345678"
    theirs.mkdir()
    (theirs / LOCK).touch()
    os.chown(theirs, 65534, 65534)
    sweep()
    assert theirs.exists()
    with pytest.raises(Conflict, match="belongs to user 65534"):
        make_private(theirs)


def test_a_private_folder_is_closed_and_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    make_private(tmp_path / "open")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises(Conflict, match="is a link"):
        make_private(tmp_path / "link")
