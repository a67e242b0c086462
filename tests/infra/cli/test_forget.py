"""`portrait forget`: clean JSON, a table for people, and no user id where none belongs."""

from pathlib import Path

import pytest

from tests.infra.commands import Commands
from tests.instances import copy_of


@pytest.fixture
def run(backfilled_home: Path, tmp_path: Path) -> Commands:
    with copy_of(backfilled_home, tmp_path / "home"):
        pass
    return Commands(tmp_path, tmp_path / "home")


def test_forget_and_lift(run: Commands) -> None:
    report = run("forget", "u000068", "--json").json
    assert report["found"]["profiles"] == 1 and report["found"]["online views"] == 3
    assert report["trained"] == [{"id": "autoencoder-1", "state": "ready"}]
    assert report["subject"].startswith("user ") and "u000068" not in str(report)

    shown = run("forget", "u000068").out
    assert report["subject"] in shown and "autoencoder-1 (ready)" in shown and "backups of databases" in shown

    lifted = run("forget", "u000068", "--lift")
    assert lifted.out == f"{report['subject']} is no longer forgotten\n"
    again = run("forget", "u000068", "--lift")
    assert (again.code, again.error) == (1, "portrait: this user is not forgotten: there is nothing to lift")
    assert "u000068" not in run("audit").out
    assert run("forget", " ").code == 2
