"""What of an error is shown where there is room for one line."""

import pytest

from portrait.registry.errors import first_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such file", "no such file"),
        ("Parser Error: near x\n\nLINE 1: SELECT", "Parser Error: near x"),
        ("\n  \n  at last \r\nmore", "at last"),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_the_first_line_that_says_something(text: str, shown: str) -> None:
    assert first_line(ValueError(text)) == shown
