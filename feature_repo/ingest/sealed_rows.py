"""Rows of users and items that came one by one, completed: a column that was not given keeps its value."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Key = tuple[str, ...]
Row = dict[str, Any]


def completed(
    arrived: Iterable[tuple[int, Row]],
    keys: Sequence[str],
    current: Mapping[Key, Row],
    columns: Sequence[str],
    unchanged_too: bool,
) -> Iterator[tuple[int, Row]]:
    """(position, whole row) of the arrived rows, in their order: of all, or of those that change something.

    `current` is each key's row before the first of them.
    """
    rows = dict(current)
    for position, given in arrived:
        key = tuple(given[name] for name in keys)
        before = rows.get(key)
        after = {name: given.get(name, before[name] if before else None) for name in columns}
        if unchanged_too or after != before:
            rows[key] = after
            yield position, after
