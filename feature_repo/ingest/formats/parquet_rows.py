"""Text in Parquet files whose bytes are not UTF-8: such a row is set aside with its reason, as in a CSV file.

DuckDB reads no row of such a file, and Arrow reads them all.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.ingest.formats.csv_rows import MALFORMED

ROWS_AT_ONCE = 16 * 1024


def holds_other_bytes(path: Path, columns: Sequence[str]) -> bool:
    """Whether a text in these columns is not UTF-8; raises pa.ArrowException and OSError for a damaged file."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        texts = [column for column in columns if _as_text(schema.field(column).type) is not None]
        batches = file.iter_batches(ROWS_AT_ONCE, columns=texts) if texts else ()
        return any(not _is_utf8(column) for batch in batches for column in batch.columns)


def unpack_parquet(path: Path, columns: Sequence[str], rows_to: Path, malformed_to: Path) -> None:
    """Write the rows (`row`, `c0`, `c1`, ...) whose texts are UTF-8, and the others (MALFORMED).

    Rows are numbered from 1, malformed ones too. Raises pa.ArrowException and OSError for a damaged file.
    """
    with pq.ParquetFile(path) as file, pq.ParquetWriter(malformed_to, MALFORMED, compression="lz4") as bad:
        kinds = [file.schema_arrow.field(column).type for column in columns]
        cells = [(f"c{i}", _as_text(kind) or kind) for i, kind in enumerate(kinds)]
        schema = pa.schema([("row", pa.int64()), *cells])
        with pq.ParquetWriter(rows_to, schema, compression="lz4") as good:
            row = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
                arrays = [batch.column(column) for column in columns]
                faults = _faults(columns, arrays)
                kept = np.setdiff1d(np.arange(len(batch)), list(faults))
                rows = [pa.array(kept + row + 1), *(_text(array.take(kept)) for array in arrays)]
                good.write_table(pa.Table.from_arrays(rows, schema=schema))
                bad.write_table(_malformed_table(columns, arrays, faults, row))
                row += len(batch)


def _faults(columns: Sequence[str], arrays: Sequence[pa.Array]) -> dict[int, str]:
    """The reason by row, that of the first column with such bytes."""
    faults: dict[int, str] = {}
    for column, array in zip(columns, arrays, strict=True):
        for row in _other_rows(array, 0):
            faults.setdefault(row, f"{column} is not valid Unicode")
    return dict(sorted(faults.items()))


def _other_rows(array: pa.Array, first: int) -> Iterator[int]:
    """The rows with bytes that are not UTF-8, found by halving."""
    if _is_utf8(array):
        return
    if len(array) == 1:
        yield first
        return
    half = len(array) // 2
    yield from _other_rows(array.take(np.arange(half)), first)
    yield from _other_rows(array.take(np.arange(half, len(array))), first + half)


def _is_utf8(array: pa.Array) -> bool:
    if _as_text(array.type) is None:
        return True
    try:
        _text(array).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _text(array: pa.Array) -> pa.Array:
    """The array with bytes and dictionaries as text; any other as it is. Raises pa.ArrowInvalid where it is not."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = _as_text(array.type)
    return array if kind is None else array.cast(kind)


def _as_text(kind: pa.DataType) -> pa.DataType | None:
    """The type of text that a column is read as: DuckDB takes bytes without a type for text. None: it holds none."""
    if pa.types.is_dictionary(kind):
        return _as_text(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        part = _as_text(kind.value_type)
        return None if part is None else pa.list_(part)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return pa.large_string() if text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _malformed_table(
    columns: Sequence[str], arrays: Sequence[pa.Array], faults: dict[int, str], before: int
) -> pa.Table:
    lines = [_line([_cell_text(array, row) for array in arrays]) for row in faults]
    rows = pa.array([row + before + 1 for row in faults], pa.int64())
    return pa.Table.from_arrays(
        [rows, pa.array(faults.values(), pa.string()), pa.array(lines, pa.string())], MALFORMED.names
    )


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _cell_text(array: pa.Array, row: int) -> str:
    """A cell as text, with escapes for what is not UTF-8."""
    value = array.take([row])
    if (kind := _as_text(array.type)) is not None:
        value = (value.dictionary_decode() if pa.types.is_dictionary(value.type) else value).cast(_as_bytes(kind))
    return _readable(value[0].as_py())


def _as_bytes(text: pa.DataType) -> pa.DataType:
    return pa.list_(_as_bytes(text.value_type)) if pa.types.is_list(text) else pa.large_binary()


def _readable(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(_readable, value))
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return "" if value is None else str(value)
