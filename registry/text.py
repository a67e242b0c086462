"""Checks of text that people write into the registry (SQLite checks no length, Postgres accepts no NUL)."""

from portrait.registry.errors import InvalidInput


def one_line(what: str, value: str, limit: int) -> str:
    """`value` without surrounding blanks; raises InvalidInput unless it is 1 to `limit` printable characters."""
    text = value.strip()
    if not text:
        raise InvalidInput(f"{what} is empty: give 1 to {limit} characters")
    if len(text) > limit:
        raise InvalidInput(f"{what} has {len(text)} characters, {text[:20]!r}...: give at most {limit}")
    if not text.isprintable():
        raise InvalidInput(f"{what} {text!r} has characters that cannot be printed: take them out")
    return text


def free_text(what: str, value: str, limit: int = 4096) -> str:
    """`value` without surrounding blanks; it may be empty or have several lines.

    Raises InvalidInput for more than `limit` characters, and for control characters other than line ends and tabs.
    """
    text = value.strip()
    if len(text) > limit:
        raise InvalidInput(f"{what} has {len(text)} characters: give at most {limit}")
    if not text.translate({ord(c): " " for c in "\n\r\t"}).isprintable():
        raise InvalidInput(f"{what} {text!r} has characters that cannot be printed: take them out")
    return text
