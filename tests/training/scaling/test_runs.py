"""The log of runs: what is written is read, a killed writer spoils nothing, a strange file is refused."""

import fcntl
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.scaling.runs import COLUMNS, RunLog
from portrait.training.scaling.setting import Setting
from tests.training.scaling.synthetic import finished, study

FIRST, SECOND, THIRD = study()[:3]


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path / "study" / "runs.csv")


def test_what_is_appended_is_read_again(log: RunLog) -> None:
    assert log.read() == [] and log.finished() == frozenset()
    runs = [FIRST, replace(SECOND, downstream=None, loss=1 / 3)]
    for run in runs:
        log.append(run)
    assert log.read() == runs
    assert log.finished() == {FIRST.name, SECOND.name}
    assert log.path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_diverged_run_is_kept(log: RunLog) -> None:
    log.append(replace(FIRST, loss=math.nan))
    assert math.isnan(log.read()[0].loss)


@pytest.mark.parametrize("killed_after", [0, 1, 20, -1])
def test_a_half_line_is_ignored_and_then_cut_off(log: RunLog, killed_after: int) -> None:
    log.append(FIRST)
    log.append(SECOND)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0] + lines[1] + lines[2][:killed_after])
    assert log.read() == [FIRST]
    log.append(SECOND)
    log.append(THIRD)
    assert log.read() == [FIRST, SECOND, THIRD]
    assert log.path.read_bytes().startswith(b"".join(lines))


def test_a_half_header_is_written_anew(log: RunLog) -> None:
    log.path.parent.mkdir()
    log.path.write_text("name,size,para")
    assert log.read() == []
    log.append(FIRST)
    assert log.read() == [FIRST]


def test_threads_may_append_together(log: RunLog) -> None:
    runs = study()[:20]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(log.append, runs))
    assert {run.name: run for run in log.read()} == {run.name: run for run in runs}


def test_an_append_waits_for_the_one_before(log: RunLog) -> None:
    log.append(FIRST)
    with log.path.open("ab") as other, ThreadPoolExecutor(1) as thread:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = thread.submit(log.append, SECOND)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.result(timeout=10)
    assert log.read() == [FIRST, SECOND]


def test_a_run_is_logged_once(log: RunLog) -> None:
    log.append(FIRST)
    with pytest.raises(InvalidInput, match=f"{FIRST.name} is there already"):
        log.append(FIRST)
    log.path.write_text(log.path.read_text() + log.path.read_text().splitlines()[1] + "\n")
    with pytest.raises(InvalidInput, match=r"runs.csv, line 3: run .* is there twice"):
        log.read()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",batch,", ",", r"runs.csv: the column 'batch' is missing"),
        ("name,", "colour,name,", r"runs.csv: the column 'colour' is unknown"),
        (",2000000,", ",many,", r"runs.csv, line 2: parameters is 'many', not int"),
        (",10000,", ",-3,", r"line 2: run .*: users is -3"),
        (",10000,", ",20000,", r"line 2: run 2m-u10000.*: its settings make the name 2m-u20000"),
        (",10000,", ",", r"line 2: 15 cells, the header has 16"),
    ],
)
def test_a_strange_log_is_refused(log: RunLog, old: str, new: str, message: str) -> None:
    log.append(next(run for run in study() if run.size == "2m"))
    text = log.path.read_text()
    assert old in text
    log.path.write_text(text.replace(old, new))
    with pytest.raises(InvalidInput, match=message):
        log.read()


def test_a_run_needs_a_name_of_one_line() -> None:
    with pytest.raises(InvalidInput, match="one line"):
        replace(FIRST, finished_at="yesterday\n")
    with pytest.raises(InvalidInput, match="steps is 0"):
        finished(Setting("2m", 10, 32, 64, 0, 0), 1.0)
