"""The poller: quick to see a change, calm when the registry is away."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from portrait.registry.errors import Conflict, NotFound, Unavailable
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.state.assignment_poller import Assignments
from portrait.serving.state.state_file import StateFile
from tests.serving.twin_source import TwinSource


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_nothing_is_known_before_the_first_answer() -> None:
    assignments = Assignments(TwinSource(away=True))
    with pytest.raises(Unavailable, match="has not answered"):
        _ = assignments.state
    with pytest.raises(Unavailable):
        assignments.refresh()
    assert assignments.known is None


def test_the_state_is_read_only_when_the_generation_moved() -> None:
    source = TwinSource()
    assignments = Assignments(source)
    first = assignments.refresh()
    assert assignments.refresh() is first and source.reads == 1
    source.promote("ranker", "autoencoder-2")
    assert assignments.refresh().assignments["ranker"].stable == "autoencoder-2"
    assert source.reads == 2


def test_polling_sees_a_promotion_and_tells_listeners() -> None:
    source, heard = TwinSource(), list[ServingState]()
    assignments = Assignments(source, poll_seconds=0.01)
    assignments.on_change(heard.append)
    assignments.start()
    try:
        wait_until(lambda: assignments.known is not None)
        source.promote("ranker", "autoencoder-2")
        wait_until(lambda: assignments.state.assignments["ranker"].stable == "autoencoder-2")
    finally:
        assignments.stop()
    assert [state.generation for state in heard] == [1, 2]


def test_the_last_state_outlives_the_registry(caplog: pytest.LogCaptureFixture) -> None:
    source = TwinSource()
    assignments = Assignments(source, poll_seconds=0.01)
    assignments.start()
    try:
        wait_until(lambda: assignments.known is not None)
        with caplog.at_level(logging.WARNING):
            source.away = True
            wait_until(lambda: assignments.stale_seconds > 0.2)
        assert assignments.state.assignments["ranker"].stable == "autoencoder-1"
        assert len(caplog.records) == 1  # said once, not at every poll
        source.promote("ranker", "autoencoder-2")
        source.away = False
        wait_until(lambda: assignments.state.generation == 2)
        wait_until(lambda: assignments.stale_seconds < 0.2)
    finally:
        assignments.stop()


def test_a_failure_that_nobody_foresaw_does_not_end_the_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    source = TwinSource()
    assignments = Assignments(source, poll_seconds=0.01)
    failures = iter([RuntimeError("odd"), RuntimeError("odd")])

    def sometimes() -> int:
        for failure in failures:
            raise failure
        return source.number

    monkeypatch.setattr(source, "generation", sometimes)
    assignments.start()
    try:
        wait_until(lambda: assignments.known is not None)
    finally:
        assignments.stop()


@contextmanager
def polling(source: TwinSource, kept: StateFile | None = None, beat_seconds: float = 60.0) -> Iterator[Assignments]:
    assignments = Assignments(source, 0.01, kept, beat_seconds)
    assignments.begin()
    assignments.start()
    try:
        yield assignments
    finally:
        assignments.stop()


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "assignments.json", "sqlite:///twin")


def test_a_route_is_a_look_up_of_what_the_state_says() -> None:
    source = TwinSource()
    assignments = Assignments(source)
    with pytest.raises(Unavailable, match="has not answered"):
        assignments.route("ranker")
    assignments.refresh()
    first, reads = assignments.route("ranker"), source.reads
    assert first.stable.id == "autoencoder-1" and first.canary is None
    assert assignments.route("ranker") is first and source.reads == reads
    with pytest.raises(NotFound, match="fresh, ranker, search"):
        assignments.route("nobody")
    with pytest.raises(Conflict, match="portrait promote fresh VERSION"):
        assignments.route("fresh")
    source.try_out("ranker", "autoencoder-2", 0.5)
    assert assignments.route("ranker") is first
    assignments.refresh()
    assert assignments.route("ranker").canary == source.versions["autoencoder-2"]


def test_how_the_registry_does_is_known_from_the_first_moment() -> None:
    source = TwinSource(away=True)
    assignments = Assignments(source)
    assert assignments.begin() is None
    assert not assignments.registry_answers and 0 <= assignments.stale_seconds < 60
    source.away = False
    assert assignments.begin() is not None
    assert assignments.registry_answers and assignments.origin == "registry"
    source.away = True
    with pytest.raises(Unavailable):
        assignments.refresh()
    assert not assignments.registry_answers


def test_a_registry_that_is_silent_counts_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    source, let_go = TwinSource(), threading.Event()
    monkeypatch.setattr("portrait.serving.state.assignment_poller.PATIENCE", 0.2)
    with polling(source) as assignments:
        assert assignments.registry_answers
        monkeypatch.setattr(source, "generation", lambda: let_go.wait(30) and source.number)
        wait_until(lambda: not assignments.registry_answers)
        assert assignments.route("ranker").stable.id == "autoencoder-1"  # and readers do not wait for it
        let_go.set()
        wait_until(lambda: assignments.registry_answers)


def test_a_process_starts_from_disk_when_the_registry_is_away(file: StateFile) -> None:
    source = TwinSource()
    with polling(source, file):
        wait_until(file.load)
        source.promote("ranker", "autoencoder-2")
        wait_until(lambda: (kept := file.load()) and kept.state.generation == 2)
    heard: list[ServingState] = []
    source.away = True
    with polling(source, file) as assignments:
        assignments.on_change(heard.append)
        assert assignments.origin == "disk" and not assignments.registry_answers
        assert assignments.route("ranker").stable.id == "autoencoder-2"
        assert source.reported[-1] == 2 and assignments.stale_seconds < 60
        source.away = False
        # The same number, but perhaps another registry's past: what is on disk is not trusted a moment longer.
        wait_until(lambda: assignments.origin == "registry")
        assert assignments.registry_answers
    assert [state.generation for state in heard] == [2]


def test_nothing_is_taken_from_disk_while_the_registry_answers(file: StateFile) -> None:
    old = TwinSource(number=99)
    old.promote("ranker", "autoencoder-2")
    file.save(old.read())
    with polling(TwinSource(), file) as assignments:
        assert assignments.origin == "registry" and assignments.state.generation == 1
        wait_until(lambda: (kept := file.load()) and kept.state.generation == 1)


def test_a_generation_is_kept_before_it_is_reported_and_served_before_that(file: StateFile) -> None:
    source, seen = TwinSource(), list[tuple[int, int, int]]()

    def report(generation: int, facts: Any) -> None:
        kept = file.load()
        assert kept is not None
        seen.append((generation, kept.state.generation, assignments.state.generation))

    source.report = report  # type: ignore[method-assign]
    with polling(source, file) as assignments:
        for number in (2, 3, 4):
            source.promote("ranker", f"autoencoder-{number % 2 + 1}")
            wait_until(lambda: seen and seen[-1][0] == number)  # noqa: B023
    assert seen and all(reported <= kept <= served for reported, kept, served in seen)


def test_the_beat_goes_on_without_news_and_ends_with_a_goodbye(file: StateFile) -> None:
    source = TwinSource()
    with polling(source, file, beat_seconds=0.01):
        wait_until(lambda: len(source.reported) > 3)
        assert not source.left
    assert set(source.reported) == {1} and source.left


def test_one_that_only_asks_is_no_replica() -> None:
    source = TwinSource()
    assignments = Assignments(source)
    assignments.refresh()
    assignments.stop()
    assert source.reported == [] and not source.left


def test_whatever_fails_about_the_beat_is_said_once_and_hurts_nobody(
    file: StateFile, caplog: pytest.LogCaptureFixture
) -> None:
    source, tried = TwinSource(), list[str]()

    def fail(_argument: object = None) -> None:
        tried.append("again")
        raise OSError(28, "No space left on device")

    source.report = source.leave = file.save = fail  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING), polling(source, file, beat_seconds=0.01) as assignments:
        wait_until(lambda: len(tried) > 5)
        source.promote("ranker", "autoencoder-2")
        wait_until(lambda: assignments.route("ranker").stable.id == "autoencoder-2")
        assert assignments.registry_answers
    said = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert len(said) == len(set(said)) == 3
