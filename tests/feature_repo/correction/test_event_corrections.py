"""Deleted and corrected events: afterwards the instance is one that never had them, or had them right at once."""

import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.forgotten import count_unfinished
from portrait.feature_repo.log.inbox import InboxOutcome
from portrait.infra.jobs.versions import take_in
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.registry.errors import Conflict, InvalidInput, NotFound
from tests.feature_repo.correction.parity import NOW, Row, file_of, record_of, require_the_same
from tests.forks import FORKS
from tests.instances import copy_of

EVENTS: list[Row] = [
    ("ann", "music-0001", "2024-03-01", "e1"),
    ("ann", "music-0002", "2024-03-02", "e2"),
    ("ann", "shop-0001", "2024-03-03", "e3"),
    ("bob", "music-0003", "2024-03-02", "e4"),
    ("eve", "music-0003", "2024-03-02", "e5"),
]
"""ann has several events; eve has one and no profile."""


def taken_in(home: Path, folder: Path, rows: list[Row], name: str = "events") -> Portrait:
    portrait = copy_of(folder, home)
    take_in(portrait, file_of(home.parent / f"{home.name}-{name}.parquet", rows), None, None)
    return portrait


def test_without_deleted_events_all_is_as_if_they_had_never_come(registered_home: Path, tmp_path: Path) -> None:
    gone = {"e2": "ann", "e3": "ann", "e5": "eve"}
    with (
        taken_in(tmp_path / "one", registered_home, EVENTS) as portrait,
        taken_in(tmp_path / "other", registered_home, [row for row in EVENTS if row[3] not in gone]) as never,
    ):
        for event, user in gone.items():
            assert portrait.operations.delete_event("ops", user, event).startswith("event ")
        require_the_same(portrait, never, "ann", "bob", "eve")
        portrait.repo.publish()
        require_the_same(portrait, never, "ann", "bob", "eve")  # nothing older comes back with a later publishing


def test_a_deleted_event_is_refused_until_it_is_lifted(registered_home: Path, tmp_path: Path) -> None:
    with taken_in(tmp_path / "home", registered_home, EVENTS) as portrait:
        subject = portrait.operations.delete_event("ops", "ann", "e2")
        assert portrait.operations.delete_event("ops", "ann", "e2") == subject
        assert portrait.log.inbox.accept([record_of(EVENTS[1]), record_of(EVENTS[0])]) == [
            InboxOutcome.DELETED,
            InboxOutcome.ACCEPTED,
        ]
        again = ingest(portrait.log, file_of(tmp_path / "again.parquet", EVENTS), now=NOW).events
        assert (again.accepted, again.duplicates, again.rejected) == (0, 4, {"the event was deleted": 1})
        [row] = pq.read_table(again.rejects).to_pylist()
        assert {name: cell for name, cell in row.items() if cell is not None} == {
            "row": 2,
            "reason": "the event was deleted",
        }
        with pytest.raises(Conflict, match=f"{subject} was deleted: lift that first"):
            portrait.operations.correct_event("ops", "ann", "e2", {"weight": 2.0})
        assert portrait.operations.lift_event("ops", "e2") == subject
        assert portrait.log.inbox.accept([record_of(EVENTS[1])]) == [InboxOutcome.ACCEPTED]
        with pytest.raises(NotFound, match="event is not deleted"):
            portrait.operations.lift_event("ops", "e2")
        done = [(one.action, one.outcome, one.subject) for one in portrait.registry.audit.newest(3)]
        assert [(action, said) for action, _, said in done[:2]] == [("event.delete", subject), ("event.lift", subject)]
        assert "e2" not in str(done)


RIGHT = [row if row[3] != "e2" else ("ann", "music-0005", "2024-03-05", "e2") for row in EVENTS]


def test_a_corrected_event_is_as_if_it_had_come_so(registered_home: Path, tmp_path: Path) -> None:
    with (
        taken_in(tmp_path / "one", registered_home, EVENTS) as portrait,
        taken_in(tmp_path / "other", registered_home, RIGHT) as right,
    ):
        changes = {"item_id": "music-0005", "event_time": "2024-03-05"}
        for _ in range(2):
            now = portrait.operations.correct_event("ops", "ann", "e2", changes)
            assert (now["user_id"], now["item_id"], now["event_id"]) == ("ann", "music-0005", "e2")
        assert count_unfinished(portrait.database) == 0
        require_the_same(portrait, right, "ann", "bob", "eve")
        again = ingest(portrait.log, file_of(tmp_path / "again.parquet", [EVENTS[1], RIGHT[1]]), now=NOW).events
        assert (again.duplicates, again.rejected) == (1, {"event_id is known with another payload": 1})


def test_an_event_that_waits_in_the_inbox_is_corrected_and_deleted(registered_home: Path, tmp_path: Path) -> None:
    with (
        taken_in(tmp_path / "one", registered_home, EVENTS[3:]) as portrait,
        taken_in(tmp_path / "other", registered_home, [RIGHT[1], RIGHT[0], *EVENTS[3:]]) as right,
    ):
        portrait.log.inbox.accept([record_of(row) for row in EVENTS[:3]])
        portrait.operations.correct_event("ops", "ann", "e2", {"item_id": "music-0005", "event_time": "2024-03-05"})
        portrait.operations.delete_event("ops", "ann", "e3")
        require_the_same(portrait, right, "ann", "bob", "eve")


def test_what_cannot_be_corrected_is_told_and_nothing_is_changed(registered_home: Path, tmp_path: Path) -> None:
    with taken_in(tmp_path / "home", registered_home, EVENTS) as portrait:
        before = portrait.log.manifest()
        refused = [
            ({"user_id": "bob"}, "user_id of an event cannot be corrected: give item_id, event_time"),
            ({}, "nothing to correct"),
            ({"event_time": "2400-01-01"}, "event_time lies in the future"),
            ({"weight": "heavy"}, "weight is not a number"),
        ]
        for changes, said in refused:
            with pytest.raises(InvalidInput, match=said):
                portrait.operations.correct_event("ops", "ann", "e2", changes)
        for user, id in (("bob", "e2"), ("ann", "never"), ("nobody", "e2")):
            with pytest.raises(NotFound, match=f"the log has no event '{id}' of this user"):
                portrait.operations.delete_event("ops", user, id)
            with pytest.raises(NotFound, match="the log has no event"):
                portrait.operations.correct_event("ops", user, id, {"weight": 2.0})
        with pytest.raises(InvalidInput, match="blank"):
            portrait.operations.delete_event("ops", "ann", " ")
        assert portrait.log.manifest() == before and count_unfinished(portrait.database) == 0


def correct_and_die(settings: Settings, at: str, delete: bool) -> None:
    """Be killed when this method of the feature repo is called."""
    with Portrait.open(settings) as portrait:
        setattr(portrait.repo, at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        if delete:
            portrait.operations.delete_event("ops", "ann", "e2")
        else:
            changes = {"item_id": "music-0005", "event_time": "2024-03-05"}
            portrait.operations.correct_event("ops", "ann", "e2", changes)


@pytest.mark.parametrize("at", ["withdraw", "publish_bucket"])
@pytest.mark.parametrize("delete", [True, False])
def test_a_killed_correction_is_finished_by_the_same_call(
    registered_home: Path, tmp_path: Path, at: str, delete: bool
) -> None:
    expected = [row for row in EVENTS if row[3] != "e2"] if delete else RIGHT
    with (
        taken_in(tmp_path / "one", registered_home, EVENTS) as portrait,
        taken_in(tmp_path / "other", registered_home, expected) as right,
    ):
        process = FORKS.Process(target=correct_and_die, args=(portrait.settings, at, delete))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert count_unfinished(portrait.database) == 1
        if delete:
            with pytest.raises(Conflict, match="is still being deleted or corrected"):
                portrait.operations.lift_event("ops", "e2")
            portrait.operations.delete_event("ops", "ann", "e2")
        else:
            changes = {"item_id": "music-0005", "event_time": "2024-03-05"}
            portrait.operations.correct_event("ops", "ann", "e2", changes)
        assert count_unfinished(portrait.database) == 0
        require_the_same(portrait, right, "ann", "bob", "eve")
