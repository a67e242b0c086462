"""CSV files unpacked to Parquet files of text, line by line, with no line lost.

Readers made for clean files drop or bend what does not fit (extra columns, a stray quote, mixed line
ends, a cut gzip). Here a line that is no row is set aside with its reason, and reading goes on after it.
"""

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LINES_AT_ONCE = 32 * 1024
CHARACTERS_AT_ONCE = 16 << 20
LONGEST_LINE = 1 << 20  # characters; also keeps a file without line ends from filling the memory

GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
MALFORMED = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("line", pa.string())])


@dataclass(frozen=True)
class CsvLayout:
    """The format of a CSV file."""

    delimiter: str
    compressed: bool
    columns: int


def open_text(path: Path, compressed: bool) -> TextIO:
    """The file's text; bytes that are not UTF-8 become surrogates, so that they cost one line and not the file."""
    if compressed:
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape")
    return path.open(encoding="utf-8-sig", errors="surrogateescape")


def unpack_csv(path: Path, layout: CsvLayout, rows_to: Path, malformed_to: Path) -> int:
    """Write the rows (`row`, `c0`, `c1`, ...; text) and the malformed lines (MALFORMED); returns how many of both.

    Rows are numbered from 1, malformed ones too, blank lines not. Raises GZIP_ERRORS for a cut or changed gzip.
    """
    schema = pa.schema([("row", pa.int64()), *((f"c{i}", pa.string()) for i in range(layout.columns))])
    with (
        open_text(path, layout.compressed) as file,
        pq.ParquetWriter(rows_to, schema, compression="lz4") as good,
        pq.ParquetWriter(malformed_to, MALFORMED, compression="lz4") as bad,
    ):
        file.readline(LONGEST_LINE)  # the header
        lines = _Lines(file)
        row = 0
        while chunk := lines.next_chunk():
            plain = None if lines.inside_long else _read_plain_lines(chunk, layout)
            read = plain or _read_quoted_lines(lines, chunk, layout)
            good.write_table(_row_table(read, row, schema))
            bad.write_table(_malformed_table(read, row))
            row += read.count
    return row


@dataclass
class _ReadLines:
    """Some records in the order of the file: the rows, and the places and reasons of the malformed lines."""

    count: int = 0
    rows: list[list[str]] = field(default_factory=list)
    malformed: dict[int, tuple[str, str]] = field(default_factory=dict)  # place -> reason, line

    def add(self, cells: list[str], line: str, columns: int) -> None:
        if len(cells) == columns:
            self.rows.append(cells)
            self.count += 1
        elif len(cells) > 1 or line.strip():  # else blank
            self.reject(f"too {'few' if len(cells) < columns else 'many'} columns", line)

    def reject(self, reason: str, line: str) -> None:
        self.malformed[self.count] = (f"malformed line: {reason}", line)
        self.count += 1


class _Lines(Iterator[str]):
    """Lines of a file, which can be given back; remembers the lines that a record has taken."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._given_back: deque[str] = deque()
        self.taken: list[str] = []
        self.inside_long = False  # the line that was rejected last goes on

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else self._file.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self.taken.append(line)
        return line

    def next_chunk(self) -> list[str]:
        self.taken = []
        characters = 0
        for line in islice(self, LINES_AT_ONCE):
            characters += len(line)
            if characters > CHARACTERS_AT_ONCE:
                break
        return self.taken

    def give_back(self, lines: list[str]) -> None:
        self._given_back.extendleft(reversed(lines))


def _read_plain_lines(chunk: list[str], layout: CsvLayout) -> _ReadLines | None:
    """The fast way, for lines without a quote or anything else that needs care; None when there is such a line."""
    text = "".join(chunk)
    if '"' in text or not is_unicode(text) or any(map(_is_piece, chunk)):
        return None
    try:
        rows = list(csv.reader(chunk, delimiter=layout.delimiter))
    except csv.Error:  # a cell beyond csv's own limit
        return None
    if all(len(cells) == layout.columns for cells in rows):
        return _ReadLines(len(rows), rows)
    read = _ReadLines()
    for cells, line in zip(rows, chunk, strict=True):
        read.add(cells, line, layout.columns)
    return read


def _read_quoted_lines(lines: _Lines, chunk: list[str], layout: CsvLayout) -> _ReadLines:
    """Read record by record. A bad record costs its first line; the lines that its quote swallowed are read again."""
    lines.give_back(chunk)
    read = _ReadLines()
    reader = csv.reader(lines, delimiter=layout.delimiter, strict=True)
    while read.count < len(chunk):
        lines.taken = []
        try:
            cells = [next(lines)] if lines.inside_long else next(reader)
        except csv.Error as error:
            _reject_first(lines, read, "a cell is too long" if "limit" in str(error) else "broken quoting")
            continue
        except StopIteration:
            break
        first, *others = lines.taken
        if lines.inside_long or _is_piece(first):
            _reject_first(lines, read, "longer than a million characters")
        elif not is_unicode("".join(lines.taken)):
            _reject_first(lines, read, "not UTF-8")
        elif others and len(cells) != layout.columns:
            _reject_first(lines, read, "broken quoting")
        else:
            read.add(cells, first, layout.columns)
    return read


def _reject_first(lines: _Lines, read: _ReadLines, reason: str) -> None:
    first, *others = lines.taken
    lines.give_back(others)
    lines.inside_long = _is_piece(first)
    read.reject(reason, first)


def _is_piece(line: str) -> bool:
    """Whether `readline` broke the line off."""
    return len(line) >= LONGEST_LINE and not line.endswith("\n")


def is_unicode(text: str) -> bool:
    """Whether every byte of the text was UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # a surrogate: a byte that was not UTF-8
        return False
    return True


def _row_table(read: _ReadLines, before: int, schema: pa.Schema) -> pa.Table:
    places = np.setdiff1d(np.arange(read.count), list(read.malformed), assume_unique=True)
    columns = zip(*read.rows, strict=True) if read.rows else [()] * (len(schema) - 1)
    return pa.Table.from_arrays([pa.array(places + before + 1), *map(_text_array, columns)], schema=schema)


def _text_array(cells: Iterable[str]) -> pa.Array:
    return pa.array(cells, pa.string())


def _malformed_table(read: _ReadLines, before: int) -> pa.Table:
    lines = [line.rstrip("\n").encode(errors="surrogateescape") for _, line in read.malformed.values()]
    return pa.Table.from_arrays(
        [
            pa.array([place + before + 1 for place in read.malformed], pa.int64()),
            pa.array([reason for reason, _ in read.malformed.values()], pa.string()),
            pa.array([line.decode(errors="backslashreplace") for line in lines], pa.string()),
        ],
        schema=MALFORMED,
    )
