"""Fields of JSON records: one value as text, time, number or list, or an error in the words of file ingest."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime

from portrait.feature_repo.log.time_text import parse_time
from portrait.feature_repo.schemas import microseconds

ID_BYTES = 1024
"""Bytes, in UTF-8, of ids, services and actions: Postgres indexes them."""

TEXT_BYTES = 64 * 1024
"""Bytes, in UTF-8, of any other text."""

LIST_LENGTH = 1000
"""Parts of a list of text."""

LARGEST_FLOAT32 = "3.4028235677973366e38"  # from here on a double rounds to infinity
EARLIEST = microseconds(datetime(1900, 1, 1, tzinfo=UTC))
LARGEST = float(LARGEST_FLOAT32)
_BLANK = " \t\r\n"
_FLOAT32 = struct.Struct("<f")


class UnfitRecord(Exception):
    """A bad record; the text says why."""


def text_of(value: object, name: str, most: int = ID_BYTES) -> str | None:
    """Text of at most `most` bytes; None when null or blank. Whole numbers are taken as text. Raises UnfitRecord."""
    if value is None:
        return None
    if type(value) is int and abs(value) < 2**64:
        value = str(value)
    if type(value) is not str:
        raise UnfitRecord(f"{name} is not text")
    if not value.strip(_BLANK):
        return None
    return _check_text(value, name, most)


def time_of(value: object, name: str) -> int | None:
    """Microseconds since 1970; None when null or blank. Without a zone it is taken as UTC. Raises UnfitRecord."""
    if value is None:
        return None
    if type(value) is not str:
        raise UnfitRecord(f"{name} is not a time")
    if not value.strip(_BLANK):
        return None
    time = parse_time(value)
    if time is None:
        raise UnfitRecord(f"{name} is not a time")
    return microseconds(time)


def past_time_of(value: object, name: str, latest: int | None) -> int | None:
    """`time_of`, from 1900 to `latest` (microseconds since 1970; None: no end); raises UnfitRecord for another time."""
    time = time_of(value, name)
    if time is None:
        return None
    if time < EARLIEST:
        raise UnfitRecord(f"{name} lies before 1900")
    if latest is not None and time > latest:
        raise UnfitRecord(f"{name} lies in the future")
    return time


def float32_of(value: object, name: str) -> float:
    """The nearest float32; a negative zero becomes zero. Raises UnfitRecord."""
    number = _number(value, name)
    if not abs(number) < LARGEST:
        raise UnfitRecord(f"{name} is not finite")
    rounded: float = _FLOAT32.unpack(_FLOAT32.pack(number))[0]
    return rounded + 0.0


def texts_of(value: object, name: str) -> list[str] | None:
    """A list of text without nulls and blanks; None when nothing is left. Raises UnfitRecord."""
    if value is None:
        return None
    if type(value) is not list:
        raise UnfitRecord(f"{name} is no list")
    if len(value) > LIST_LENGTH:
        raise UnfitRecord(f"{name} has {len(value):,} parts, more than {LIST_LENGTH:,}")
    return [text for part in value if (text := _part(part, name)) is not None] or None


def vector_of(value: object, name: str, length: int) -> list[float] | None:
    """A list of `length` float32; None when null. Raises UnfitRecord."""
    if value is None:
        return None
    if type(value) is not list or not all(type(number) is float or type(number) is int for number in value):
        raise UnfitRecord(f"{name} is no list of numbers")
    if len(value) != length:
        raise UnfitRecord(f"{name} has another length than {length}")
    return [float32_of(number, name) for number in value]


def require_known_fields(record: dict[str, object], known: Sequence[str], what: str, remedy: str = "") -> None:
    """Raise UnfitRecord for the first field that is not among the known ones."""
    if not record.keys() <= {*known}:
        unknown = next(field for field in record if field not in known)
        raise UnfitRecord(f"{what} has no field `{unknown[:80]}`; its fields are {', '.join(known)}{remedy}")


def _number(value: object, name: str) -> float | int:
    if type(value) is float or type(value) is int:
        return value
    raise UnfitRecord(f"{name} is not a number")


def _part(value: object, name: str) -> str | None:
    if value is None:
        return None
    if type(value) is int and abs(value) < 2**64:
        return str(value)
    if type(value) is not str:
        raise UnfitRecord(f"{name} is no list of text")
    return _check_text(value, name, ID_BYTES) if value.strip(" ") else None


def _check_text(value: str, name: str, most: int) -> str:
    if "\0" in value:
        raise UnfitRecord(f"{name} holds a NUL character")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise UnfitRecord(f"{name} is not valid Unicode") from None
    if size > most:
        raise UnfitRecord(f"{name} is longer than {most:,} bytes")
    return value
