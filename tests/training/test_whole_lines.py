"""JSON lines that a killed process left: whole ones count, an unfinished one is deleted."""

from pathlib import Path

import pytest

from portrait.training.durable_files import whole_lines


@pytest.mark.parametrize("half", ["", '{"a": 3', "["])
def test_half_a_line_is_struck_out_and_the_next_one_stands_alone(half: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n[2]\n' + half)
    assert whole_lines(path) == [{"a": 1}, [2]]
    with path.open("a") as file:
        file.write('{"a": 4}\n')
    assert whole_lines(path) == [{"a": 1}, [2], {"a": 4}]
    assert [file.name for file in tmp_path.iterdir()] == ["lines.jsonl"]


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert whole_lines(tmp_path / "none.jsonl") == []
