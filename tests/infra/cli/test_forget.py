"""`portrait forget`, `event` and `merge`: clean JSON, words for people, and no user id where none belongs."""

from pathlib import Path

import pytest

from tests.feature_repo.correction.parity import file_of
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


def test_an_event_is_corrected_deleted_and_lifted(run: Commands, tmp_path: Path) -> None:
    rows = [("ann", "music-0001", "2024-03-01", "e1"), ("ann", "music-0002", "2024-03-02", "e2")]
    assert run("ingest", "--events", str(file_of(tmp_path / "e.parquet", rows))).code == 0
    now = run("event", "correct", "ann", "e1", "--item", "music-0003", "--weight", "2", "--json").json
    assert now == {
        "user_id": "ann",
        "item_id": "music-0003",
        "event_time": "2024-03-01T00:00:00Z",
        "service": "music",
        "action": "view",
        "weight": 2.0,
        "event_id": "e1",
    }
    subject = run("event", "delete", "ann", "e2", "--json").json["subject"]
    assert run("event", "delete", "ann", "e2").out == f"{subject} is deleted\n"
    assert run("event", "delete", "ann", "e2", "--lift").out == f"{subject} is accepted again when it is sent\n"
    gone = run("event", "delete", "ann", "e2")
    assert (gone.code, gone.error) == (1, "portrait: the log has no event 'e2' of this user")
    merged = run("merge", "ann", "bea", "--json").json
    assert merged["found"]["events"] == 1 and merged["subject"].startswith("user ")
    assert "found; moved or deleted" in run("merge", "ann", "bea").out
    assert run("merge", "ann", "ann").code == 2
    wrong = run("event", "correct", "bea", "e1", "--time", "soon")
    assert (wrong.code, wrong.error) == (2, "portrait: event_time is not a time")
