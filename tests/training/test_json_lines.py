"""Lines that a killed process left: whole ones count, half of one is passed over or struck out."""

import json
from pathlib import Path

import pytest

from portrait.training.json_lines import JsonLines


@pytest.mark.parametrize("half", ["", '{"a": 3', "["])
def test_half_a_line_is_struck_out_and_the_next_one_stands_alone(half: str, tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "lines.jsonl")
    log.path.write_text('{"a": 1}\n[2]\n' + half)
    assert log.resume() == [{"a": 1}, [2]]
    log.append({"a": 4})
    assert log.path.read_text() == '{"a": 1}\n[2]\n{"a": 4}\n'
    assert log.resume() == [{"a": 1}, [2], {"a": 4}]
    assert [file.name for file in tmp_path.iterdir()] == ["lines.jsonl"]


@pytest.mark.parametrize("half", ["", '{"a": 3', "["])
def test_where_others_write_half_a_line_stays_and_is_passed_over(half: str, tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "lines.jsonl")
    log.path.write_text('{"a": 1}\n' + half)
    assert log.read() == [{"a": 1}]
    log.append({"a": 4}, [5])
    assert log.read() == [{"a": 1}, {"a": 4}, [5]]
    assert half in log.path.read_text().splitlines() or not half


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "none.jsonl")
    assert log.resume() == log.read() == [] and not log.path.exists()
    log.append({"a": "\u2028é\n"}, [0.1, float("inf")])
    assert log.read() == [{"a": "\u2028é\n"}, [0.1, float("inf")]]
    assert [json.loads(line) for line in log.path.read_text().splitlines()] == log.read()
