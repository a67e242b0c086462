"""The poller: quick to see a change, calm when the registry is away."""

import logging
import time

import pytest

from registry.assignments import ServingState
from registry.errors import Unavailable
from serving.assignments import Assignments
from tests.serving.twins import TwinSource


def wait_until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
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
        assert assignments.stale_seconds < 0.2
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
