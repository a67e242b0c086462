"""The leave-one-out benchmark files: a gzipped line `user item item ...` a user, in time order.

Ids are numbers of one file: user 1 of Beauty is not user 1 of Yelp, so each file wants a home of its own.
"""

import gzip
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from portrait.feature_repo.ingest.adapters.clock import day_sql
from portrait.feature_repo.ingest.adapters.conversion import CanonicalFiles, Conversion
from portrait.registry.errors import InvalidInput


def convert(path: Path, out_dir: Path) -> CanonicalFiles:
    """Sequences to events, one a day; the service is the file's name. `path` is a .txt.gz file.

    Raises InvalidInput for another file, and for a line without user and item, with its number.
    """
    service = path.name.partition(".")[0].lower().replace("'", "''")
    events = f"""
        SELECT words[1] AS user_id, item_id, {day_sql("len(words) - 1 - place")} AS event_time, '{service}' AS service
        FROM (SELECT words, unnest(words[2:]) AS item_id, generate_subscripts(words[2:], 1) AS place FROM sequences)
    """
    with Conversion(out_dir) as conversion:
        conversion.table("sequences", pa.table({"words": _words(path)}), path)
        return CanonicalFiles(events=conversion.write("events", events))


def _words(path: Path) -> pa.Array:
    """The words of each line, as a list array; raises InvalidInput for a line with fewer than two."""
    lines = _lines(path)
    words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pa.array(lines, pa.string())))
    for number, count in enumerate(pc.list_value_length(words).to_pylist(), start=1):
        if count < 2:
            raise InvalidInput(f"line {number} of {path} is {lines[number - 1]!r}: it must be `user item item ...`")
    return words


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not a gzipped text file: {error}") from error
    if not lines:
        raise InvalidInput(f"{path} holds no lines")
    return lines
