import pytest

from portrait.registry.gates.wording import distinct_texts, percent, span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 seconds"),
        (-5.0, "0 seconds"),
        (1.0, "1 second"),
        (59.96, "60 seconds"),
        (60.0, "1 minute"),
        (5400.0, "1.5 hours"),
        (86_400.0, "1 day"),
        (276_480.0, "3.2 days"),
        (400 * 86_400.0, "400 days"),
    ],
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(("share", "said"), [(0.0, "0%"), (1.0, "100%"), (0.999, "99.9%"), (0.5, "50%")])
def test_a_share_is_told_in_percent(share: float, said: str) -> None:
    assert percent(share) == said


def test_what_differs_reads_differently() -> None:
    assert distinct_texts(percent, 0.99895, 0.999) == ("99.89%", "99.9%")
    assert distinct_texts(span, 86_401.0, 86_400.0) == ("1.00001 days", "1 day")
    assert distinct_texts(span, 86_400.0, 86_400.0) == ("1 day", "1 day")
