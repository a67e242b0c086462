"""The one grammar of times in text: files, JSON, labels and options read the same moments, or none.

It is RFC 3339 with a `T` or a blank, seconds and zone may be left out, or the whole time of day; what has no zone is
UTC. A zone is an offset, `Z` or ` UTC`: the name of a place means two moments in the hour when its clocks go back, and
names such as CST mean several places.
"""

import re
from datetime import UTC, datetime

_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"  # neither Python nor Arrow's readers know a year 0
_HOUR, _MINUTE = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_ZONE = f"(?:Z| UTC|[+-]{_HOUR}(?::?{_MINUTE})?)"
_GRAMMAR = f"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{_HOUR}:{_MINUTE}(?::{_MINUTE}(?:\\.[0-9]{{1,9}})?{_ZONE}?)?)?"
_TIME = re.compile(_GRAMMAR)
_FIRST, _LAST = "TIMESTAMPTZ '0001-01-01 00:00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"
_BLANK = " \t\r\n"


def parse_time(value: str) -> datetime | None:
    """The time that the text names, in UTC and cut to microseconds; None when it is no time of the years 1 to 9999."""
    value = value.strip(_BLANK)
    if not _TIME.fullmatch(value):
        return None
    try:
        time = datetime.fromisoformat(value.removesuffix(" UTC"))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # a 30th of February; an offset that leads out of these years
        return None


def parse_time_sql(cell: str) -> str:
    """SQL for `parse_time` of a cell of text: a TIMESTAMPTZ, or null."""
    # Only text of the grammar reaches the cast: DuckDB's own takes names of zones, and carries them to the next rows.
    trimmed = f"trim({cell}, E'{_BLANK.encode('unicode_escape').decode()}')"
    plain = f"regexp_replace({trimmed}, ' UTC$', 'Z')"
    return timestamp_sql(f"CASE WHEN regexp_full_match({trimmed}, '{_GRAMMAR}') THEN {plain} END")


def timestamp_sql(value: str) -> str:
    """SQL for a value as a TIMESTAMPTZ of the years 1 to 9999, which every reader has; else null."""
    time = f"TRY_CAST({value} AS TIMESTAMPTZ)"
    return f"CASE WHEN {time} BETWEEN {_FIRST} AND {_LAST} THEN {time} END"
