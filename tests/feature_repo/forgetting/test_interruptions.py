"""Interrupted forgetting: killed or stopped at any point, it is finished by asking again, in the same state."""

import os
import signal
import sqlite3
from contextlib import closing
from itertools import count

import pytest

from portrait.feature_repo.log import rewriting
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.registry.errors import Conflict
from portrait.registry.progress import Progress
from tests.feature_repo.forgetting.conftest import event_of, with_everything
from tests.feature_repo.forgetting.traces import traces
from tests.forks import FORKS
from tests.training.stored import users_of

STEPS = 20  # nine places are looked at, and left


class Stopped(Exception):
    pass


def stopping_at(step: int) -> Progress:
    """Raises when this step is about to be done."""
    steps = count()

    def stop(name: str, _done: int, _total: int, _note: str = "") -> None:
        if next(steps) == step:
            raise Stopped(name)

    return stop


def test_stopped_before_every_step_it_goes_on(backfilled: Portrait) -> None:
    everybody = users_of(backfilled)
    users = with_everything(backfilled)[::10][: STEPS + 1]
    for stop_at, user in enumerate(users):
        backfilled.log.inbox.accept([event_of(user, f"e{stop_at}")])
        with pytest.raises(Stopped):
            backfilled.operations.forget("ann", user, stopping_at(stop_at))
        report = backfilled.operations.forget("ann", user)
        assert report.found["events"] > 0 and report.found["online views"] == 3
        assert report.found["inbox and refresh requests"] == 1
        assert [one.id for one in report.trained] == ["autoencoder-1"]
    assert len(users) == STEPS + 1
    assert traces(backfilled, *users) == []
    assert users_of(backfilled) == [user for user in everybody if user not in users]


def forget_and_die(settings: Settings, user: str, place: str) -> None:
    """Be killed at a place."""

    def die(step: str, done: int, total: int, note: str = "") -> None:
        if (step, note) == ("forgetting", place):
            os.kill(os.getpid(), signal.SIGKILL)

    Portrait(settings).operations.forget("ann", user, die)


def test_a_killed_one_is_finished_by_another_process(backfilled: Portrait) -> None:
    user = backfilled.log.user_ids(5)[0]
    process = FORKS.Process(target=forget_and_die, args=(backfilled.settings, user, "vectors at rest"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert user not in backfilled.log.user_ids(5) and traces(backfilled, user) != []
    report = backfilled.operations.forget("ann", user)
    assert report.found["vectors at rest"] == 1 and report.finished_at > report.asked_at
    assert traces(backfilled, user) == []
    assert list((backfilled.settings.home / "staging").iterdir()) == []


def test_killed_before_the_old_segment_is_removed_it_goes_on(
    backfilled: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = backfilled.log.user_ids(5)[0]
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", lambda *_arguments, **_named: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            backfilled.operations.forget("ann", user)
    assert any(trace.startswith("log/") for trace in traces(backfilled, user))
    backfilled.operations.forget("ann", user)
    assert traces(backfilled, user) == []


def test_one_user_at_a_time(backfilled: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "PATIENCE_SECONDS", 0.1)
    user = backfilled.log.user_ids(5)[0]
    with rewriting.rewriting(backfilled.settings.home), pytest.raises(Conflict, match="ask again when it is done"):
        backfilled.operations.forget("ann", user)
    assert backfilled.operations.forget("ann", user).found["events"] > 0


def test_what_a_reader_keeps_from_being_written_anew_is_said(
    backfilled: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.registry.database.compaction.BUSY_SECONDS", 0.1)
    user = backfilled.log.user_ids(5)[0]
    with closing(sqlite3.connect(backfilled.settings.home / "online.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        report = backfilled.operations.forget("ann", user)
        assert report.not_purged == (
            "the write-ahead log of online.db could not be emptied, as somebody reads it: do it again later",
        )
        reader.execute("COMMIT")
    again = backfilled.operations.forget("ann", user)
    assert again.not_purged == () and traces(backfilled, user) == []
