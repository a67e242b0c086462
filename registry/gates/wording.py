"""Wording of shares and lengths of time for people."""

from collections.abc import Callable

_UNITS = (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0), ("second", 1.0))


def percent(share: float, digits: int = 1) -> str:
    """A share as text: 0.999 -> "99.9%"."""
    return f"{_decimal_text(100 * share, digits)}%"


def span(seconds: float, digits: int = 1) -> str:
    """A length of time in its largest unit: 276480.0 -> "3.2 days"; negative ones count as 0."""
    seconds = max(0.0, seconds)
    name, size = next(((name, size) for name, size in _UNITS if seconds >= size), _UNITS[-1])
    number = _decimal_text(seconds / size, digits)
    return f"{number} {name}" if number == "1" else f"{number} {name}s"


def distinct_texts(say: Callable[[float, int], str], value: float, limit: float) -> tuple[str, str]:
    """Both numbers as text, with as many digits as it takes to see that they differ."""
    digits = next((n for n in range(1, 9) if say(value, n) != say(limit, n)), 1)
    return say(value, digits), say(limit, digits)


def _decimal_text(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
