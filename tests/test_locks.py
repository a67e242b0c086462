"""Locks that are files: processes of earlier code take them by `flock`, so old and new ones keep each other out."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from portrait.feature_repo.declaration.apply import apply_lock
from portrait.feature_repo.log import rewriting
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database
from portrait.registry.errors import Conflict
from portrait.training.runs import workspace
from portrait.training.runs.workspace import Workspace, claim
from portrait.training.scaling.folder import StudyFolder

Hold = Callable[[Path], AbstractContextManager[object]]


def applying(home: Path) -> AbstractContextManager[object]:
    settings = FeatureSettings(home=home)
    return apply_lock(settings, Database(settings.database_url))


LOCKS: dict[str, Hold] = {
    "rewriting.lock": rewriting.rewriting,
    "apply.lock": applying,
    "studies/scaling/lock": lambda home: StudyFolder(home, "scaling").held(),
    "unfinished/*/lock": lambda home: claim(home / "unfinished", "clue", "a"),
}
OLD_PROCESS = (
    "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); input()"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "registry.db").touch()
    return tmp_path / "home"


def is_free(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("name", LOCKS)
def test_an_old_process_finds_it_held_and_then_free(name: str, home: Path) -> None:
    before = os.umask(0o002)  # of people who share a home
    try:
        with LOCKS[name](home):
            (path,) = home.glob(name)
            assert not is_free(path)
    finally:
        os.umask(before)
    assert is_free(path) and stat.S_IMODE(path.stat().st_mode) == 0o664


def refused(name: str, home: Path, mine: Workspace | None) -> bool:
    try:
        with LOCKS[name](home) as held:
            if another := isinstance(held, Workspace) and held != mine:  # a run of its own
                shutil.rmtree(held.folder)
            return another
    except Conflict:
        return True


@pytest.mark.parametrize("name", [name for name in LOCKS if name != "apply.lock"])
def test_what_an_old_process_holds_is_refused_until_it_dies(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "PATIENCE_SECONDS", 0.1)
    with LOCKS[name](home) as held:
        mine = held if isinstance(held, Workspace) else None
        (path,) = home.glob(name)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", OLD_PROCESS, str(path)], **pipes) as old:  # type: ignore[call-overload]
        try:
            old.stdout.readline()
            assert refused(name, home, mine)
        finally:
            old.kill()
        old.wait()
        assert not refused(name, home, mine)


def test_an_apply_waits_for_an_old_process(home: Path) -> None:
    entered = threading.Event()

    def apply() -> None:
        with applying(home):
            entered.set()

    with (home / "apply.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = threading.Thread(target=apply)
        waiting.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    waiting.join()


def test_a_run_that_ends_while_it_is_asked_for_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its driver removes the folder between the look at its request and the lock, which makes the folder again."""
    with claim(tmp_path, "clue", "a") as ended:
        pass
    asked = workspace._request_of

    def remove(folder: Path) -> str | None:
        found = asked(folder)
        if folder == ended.folder and found is not None:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        return found

    monkeypatch.setattr(workspace, "_request_of", remove)
    with claim(tmp_path, "clue", "a") as mine:
        assert mine.run != ended.run and [path.name for path in tmp_path.iterdir()] == [mine.run]
