"""Rows of users and items that came one by one, completed: a column that was not given keeps its value."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Key = tuple[str, ...]
Row = dict[str, Any]


def completed(
    arrived: Iterable[tuple[int, Row]], keys: Sequence[str], current: Mapping[Key, Row], columns: Sequence[str]
) -> Iterator[tuple[int, Row]]:
    """(position, whole row) of each arrived row that changes something, in their order.

    `current` is each key's row before the first of them.
    """
    rows = dict(current)
    for position, given in arrived:
        key = tuple(given[name] for name in keys)
        before = rows.get(key)
        after = {name: given.get(name, before[name] if before else None) for name in columns}
        if after != before:
            rows[key] = after
            yield position, after
