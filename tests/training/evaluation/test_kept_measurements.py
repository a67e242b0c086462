"""Kept measurements of a suite: made once for each stamp, and never read by half."""

from pathlib import Path

from portrait.training.evaluation.line_log import Kept, Measured


def test_a_measurement_is_made_once_and_found_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "lines.jsonl", []

    def measure() -> Measured:
        calls.append(1)
        return {"value": 0.5, "of": (1, 2)}

    first = Kept(path, "a")
    assert first.once("x", measure) == first.once("x", measure) == {"value": 0.5, "of": [1, 2]}
    again = Kept(path, "a")
    assert again.once("x", measure)["value"] == 0.5
    assert (len(calls), first.made, again.made) == (1, 1, 0)


def test_another_stamp_measures_anew_and_keeps_the_other(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    Kept(path, "a").once("x", lambda: {"value": 1})
    assert Kept(path, "b").once("x", lambda: {"value": 2}) == {"value": 2}
    assert Kept(path, "a").once("x", lambda: {"value": 3}) == {"value": 1}


def test_half_a_line_is_struck_out(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    kept = Kept(path, "a")
    kept.once("x", lambda: {"value": 1})
    whole = path.read_text()
    path.write_text(whole + '{"stamp": "a", "key": "y", "meas')
    again = Kept(path, "a")
    assert path.read_text() == whole
    assert "x" in again and "y" not in again
    assert again.once("y", lambda: {"value": 2}) == {"value": 2}
