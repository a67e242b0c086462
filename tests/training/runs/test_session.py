"""The log of a run's epochs, killed or not."""

from pathlib import Path

import pytest

from portrait.training.runs.session import METRICS, LocalSession, MetricLog


@pytest.mark.parametrize("half", ["", '{"event": "epoch", "epo', '{"event": "epoch", "epoch": 1, "loss": 0.5}'])
def test_half_a_line_is_passed_over_and_the_next_one_stands_alone(half: str, tmp_path: Path) -> None:
    log = MetricLog(tmp_path / METRICS)
    log.write("epoch", epoch=0, loss=2.0)
    with log.path.open("a") as file:
        file.write(half)
    log.write("worker", rank=0)
    log.write("epoch", epoch=1, loss=1.0)
    assert [(line["epoch"], line["loss"]) for line in log.epochs()] == [(0, 2.0), (1, 1.0)]


def test_lines_that_were_joined_do_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    log = MetricLog(tmp_path / METRICS)
    log.path.write_text('{"event": "epoch", "epo{"event": "worker", "rank": 0}\n')
    log.write("epoch", epoch=0)
    assert [line["epoch"] for line in log.epochs()] == [0]


def test_an_epoch_is_logged_before_its_state_is_there_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = LocalSession(tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MetricLog, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        session.report({"epoch": 0}, {"epoch": 1})
    assert session.restore() is None
