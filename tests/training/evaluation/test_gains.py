"""Gains as text, as plain values and as a picture."""

import json
import math
from pathlib import Path

import pytest

from portrait.training.evaluation.gains import Gain, draw_gains


def test_a_gain_is_about_as_large_as_the_papers_or_not() -> None:
    assert Gain("one", 0.2, 0.1, 0.3, 0.15).size == "holds" and Gain("one", 0.4, 0.1, 0.7, 0.15).size == "does not hold"
    assert Gain("one", 0.2, 0.1, 0.3, None).size == "" and str(Gain("one", 0.2, 0.1, 0.3, None)) == (
        "+20.0% (+10.0% .. +30.0%)"
    )


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_gain_over_nothing_is_not_to_be_had(value: float, tmp_path: Path) -> None:
    nothing = Gain("over nothing", value, math.nan, math.nan, 0.15)
    assert (str(nothing), nothing.size) == ("-", "")
    numbers = json.loads(json.dumps(nothing.numbers(), allow_nan=False))
    assert numbers == {"gain": None, "gain_low": None, "gain_high": None, "paper_gain": 0.15, "size": ""}
    draw_gains([nothing], tmp_path / "alone.png")
    draw_gains([Gain("known", 0.2, 0.1, 0.3, None), nothing], tmp_path / "both.png")
    assert all((tmp_path / name).stat().st_size > 3000 for name in ("alone.png", "both.png"))
