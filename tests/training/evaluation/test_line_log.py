"""Lines of one task beside one another: the same users are drawn for both."""

from pathlib import Path

import numpy as np
import pytest

from portrait.training.evaluation.line_log import Line, LineLog, difference, gain
from portrait.training.metrics.classes import mean_interval

USERS = np.arange(400)
EASE = np.random.default_rng(0).normal(0.6, 0.3, len(USERS))  # some users are easy for everybody


def line(method: str, values: np.ndarray) -> Line:
    found = mean_interval(values, USERS)
    return Line(method, None, "hit", found.value, found.low, found.high, len(USERS), 0.1, found.resamples)


def test_a_difference_is_as_sure_as_it_is_user_by_user() -> None:
    better = EASE + np.random.default_rng(1).normal(0.02, 0.05, len(USERS))
    ours, theirs = line("ours", better), line("theirs", EASE)
    assert ours.low < theirs.high  # side by side they could be the same
    lead = difference(ours, theirs)
    assert lead.value == pytest.approx((better - EASE).mean())
    assert lead.high - lead.low == pytest.approx(2 * 1.96 * (better - EASE).std() / 20, rel=0.1)
    assert 0 < lead.low < lead.value < lead.high
    relative = gain(ours, theirs)
    assert relative.value == pytest.approx(better.mean() / EASE.mean() - 1) and relative.low > 0


def test_a_gain_over_nothing_is_no_error() -> None:
    found = gain(line("ours", EASE), line("theirs", np.zeros(len(USERS))))
    assert found.value == np.inf and np.isnan(found.low) and np.isnan(found.high)


def test_lines_are_the_same_after_a_restart(tmp_path: Path) -> None:
    LineLog(tmp_path / "lines.jsonl").add([line("ours", EASE)])
    assert LineLog(tmp_path / "lines.jsonl").lines_of("ours", None) == [line("ours", EASE)]


def test_what_is_shown_has_no_resamples() -> None:
    shown = line("ours", EASE).shown()
    assert "resamples" not in shown and shown["low"] < shown["value"] < shown["high"]
