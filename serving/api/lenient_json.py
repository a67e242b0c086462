"""JSON in which one odd element does not spoil the body: it is read as what its own judge will refuse."""

import json


def lenient_json(body: bytes) -> object:
    """JSON with NaN, control characters, halves of emoji and bytes that are not UTF-8; the last two are surrogates.

    Raises ValueError or RecursionError for what is no JSON at all. Slow: only for bodies that a strict parser refuses.
    """
    text = body.decode("utf-8-sig", errors="surrogateescape")
    return json.loads(text, strict=False, parse_int=_integer)


def printable(text: str) -> str:
    """The text with escapes for what is no Unicode, so that an answer can hold it."""
    return text.encode(errors="backslashreplace").decode()


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)  # Python refuses thousands of digits, for the whole body
