"""Rejected rows, kept as the file had them: `rejects/<stem>-<content hash>.parquet`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.duck import Duck, name, text
from portrait.feature_repo.log.forgotten import REASON
from portrait.feature_repo.log.segments import sync

OWN_COLUMNS = ("row", "reason", "line")


@dataclass(frozen=True)
class Rejects:
    """The rejected rows of one file: counts by reason, and where they are (None when there are none)."""

    counts: dict[str, int]
    path: Path | None

    def discard(self) -> None:
        """Remove the file: it names somebody who was forgotten while it was written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def write_rejects(duck: Duck, home: Path, working: Path, source: Source, rejected: str) -> Rejects:
    """Write the rejected rows of a source.

    `rejected` is a relation of (row, reason). The file has `row` (number in the source, from 1),
    `reason`, every column of the source as text, and `line`: the text of a CSV line that is no row at
    all. Of a forgotten user's rows nothing but number and reason is kept. The same rejects give the same file.
    """
    reasons = f"(SELECT reason FROM {rejected} UNION ALL SELECT reason FROM {source.malformed})"
    counted = duck.execute(f"SELECT reason, count(*) FROM {reasons} GROUP BY ALL ORDER BY ALL").fetchall()
    if not counted:
        return Rejects({}, None)
    staged = working / f"rejects-{source.what}.parquet"
    duck.execute(f"""
        COPY (
            SELECT row, reason, {_as_text(source)}, NULL::VARCHAR AS line
            FROM {source.rows} JOIN {rejected} USING (row)
            UNION ALL BY NAME
            FROM {source.malformed}
            ORDER BY row
        ) TO {text(str(staged))} (FORMAT parquet, COMPRESSION zstd)""")
    return Rejects(dict(counted), _publish(staged, home, source.path))


def write_late_rejects(home: Path, working: Path, records: Sequence[str], reason: str) -> Path:
    """Keep accepted records that turned out to be bad; the same ones give the same file."""
    table = pa.table({"reason": [reason] * len(records), "record": pa.array(records, pa.string())})
    staged = working / "rejects-accepted.parquet"
    pq.write_table(table, staged, compression="zstd")
    return _publish(staged, home, Path("accepted"))


def _as_text(source: Source) -> str:
    # A column of the source that is named like one of ours gets an underscore.
    names = (name(column + "_" if column.lower() in OWN_COLUMNS else column) for column in source.columns)
    cells = (f"CASE WHEN reason <> '{REASON}' THEN {source.cell(column)}::VARCHAR END" for column in source.columns)
    return ", ".join(f"{cell} AS {shown}" for cell, shown in zip(cells, names, strict=True))


def _publish(staged: Path, home: Path, source: Path) -> Path:
    with staged.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    path = home / "rejects" / f"{source.name.split('.')[0]}-{content}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    sync(staged)
    return staged.replace(path)
