"""Event ids for events that bring none, equal to those that file ingest gives."""

import hashlib
import math
from collections import Counter
from decimal import Decimal
from functools import lru_cache

import numpy as np

ODD_WEIGHTS = 65_536
"""Size of the cache of weights and their texts."""

Payload = tuple[str, str, int, str, str, float]
"""user_id, item_id, event_time (µs), service, action, weight (a float32)."""


class EventIds:
    """Gives event ids by content, and by the ordinal among identical events of one request."""

    def __init__(self) -> None:
        self._seen: Counter[Payload] = Counter()

    def id_for(self, payload: Payload) -> str:
        """MD5 (32 hexadecimal digits) of the event's text, as `event_files._identify` makes it for rows of a file."""
        ordinal = self._seen[payload]
        self._seen[payload] = ordinal + 1
        user, item, time, service, action, weight = payload
        parts = (_with_length(text) for text in (user, service, item, action))
        text = f"{''.join(parts)}{weight_text(weight)} {time} {ordinal}"
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _with_length(text: str) -> str:
    return f"{len(text) if text.isascii() else len(text.encode())}:{text}"


def weight_text(weight: float) -> str:
    """A float32 as DuckDB writes it: the shortest digits, or the double's digits where Grisu's algorithm is in doubt.

    Of all float32 only some powers of two beyond 2**80 and below 2**-80 read otherwise.
    """
    return repr(weight) if weight.is_integer() and abs(weight) < 2**24 else _odd_weight_text(weight)


@lru_cache(maxsize=ODD_WEIGHTS)
def _odd_weight_text(weight: float) -> str:
    size = np.float32(abs(weight))
    # Half-way to the neighbours, exactly: what lies between reads back as this float32.
    low, high = ((float(size) + float(np.nextafter(size, np.float32(end)))) / 2 for end in (-math.inf, math.inf))
    for digits in range(9):
        text = f"{size:.{digits}e}"
        shorter = float(text)
        if shorter in (low, high) or (low < shorter < high and _is_half_way(text, float(size), digits)):
            break  # in doubt, and DuckDB falls back on the digits of the double
        if low < shorter < high:
            return repr(math.copysign(shorter, weight))
    return repr(weight)


def _is_half_way(text: str, size: float, digits: int) -> bool:
    """Whether another decimal with so many digits after the first is as near to `size`."""
    decimal = Decimal(text)
    return abs(decimal - Decimal(size)) * 2 == Decimal(10) ** (decimal.adjusted() - digits)
