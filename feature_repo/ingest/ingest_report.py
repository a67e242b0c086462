"""Ingest reports, table by table, and the files of rejected rows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.duck import Duck, name, text
from portrait.feature_repo.log.durable_files import file_digest, put_in_place
from portrait.feature_repo.log.forgotten import DELETED, REASON


@dataclass(frozen=True)
class TableReport:
    """Counts of one file; `read == accepted + duplicates + rejected rows`, always.

    Of users and items `accepted == added + changed`, and unchanged rows count as duplicates.
    """

    file: Path
    read: int
    accepted: int
    duplicates: int
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> rows
    rejects: Path | None = None  # where the rejected rows are
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    clamped: int = 0  # accepted events that have the time of the ingest, because theirs lay too far after it

    @property
    def rejected_rows(self) -> int:
        return sum(self.rejected.values())


@dataclass(frozen=True)
class IngestReport:
    """The report of one ingest call; None for a table that it was not given."""

    events: TableReport | None = None
    items: TableReport | None = None
    users: TableReport | None = None

    def tables(self) -> Iterator[tuple[str, TableReport]]:
        """Name and report of each table that was given."""
        named = (("events", self.events), ("items", self.items), ("users", self.users))
        return ((name, report) for name, report in named if report is not None)

    def read_from(self, path: Path) -> "IngestReport":
        """The report with this path as the file of its tables: an adapter names its source, not the converted file."""
        return IngestReport(**{name: replace(report, file=path) for name, report in self.tables()})

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`, by table."""
        return {name: _plain(report) for name, report in self.tables()}


def _plain(report: TableReport) -> dict[str, Any]:
    return asdict(report) | {"file": str(report.file), "rejects": str(report.rejects) if report.rejects else None}


OWN_COLUMNS = ("row", "reason", "line")


@dataclass(frozen=True)
class Rejects:
    """The rejected rows of one file: counts by reason, and the file they are in (None without any)."""

    counts: dict[str, int]
    path: Path | None

    def discard(self) -> None:
        """Remove the file: it names a user who was forgotten while it was written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def write_rejects(duck: Duck, home: Path, working: Path, source: Source, rejected: str) -> Rejects:
    """Write the rejected rows of a source.

    `rejected` is a relation of (row, reason). The file has `row` (number in the source, from 1), `reason`, every column
    of the source as text, and `line`: the text of a CSV line that is no row. Of the rows of forgotten users and deleted
    events only number and reason are kept. The same rejects give the same file.
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
    """Write a rejects file of accepted records that turned out to be bad; the same records give the same file."""
    table = pa.table({"reason": [reason] * len(records), "record": pa.array(records, pa.string())})
    staged = working / "rejects-accepted.parquet"
    pq.write_table(table, staged, compression="zstd")
    return _publish(staged, home, Path("accepted"))


def _as_text(source: Source) -> str:
    # A column of the source that is named like one of ours gets an underscore.
    names = (name(column + "_" if column.lower() in OWN_COLUMNS else column) for column in source.columns)
    kept = f"reason NOT IN ('{REASON}', '{DELETED}')"
    cells = (f"CASE WHEN {kept} THEN {source.cell(column)}::VARCHAR END" for column in source.columns)
    return ", ".join(f"{cell} AS {shown}" for cell, shown in zip(cells, names, strict=True))


def _publish(staged: Path, home: Path, source: Path) -> Path:
    path = home / "rejects" / f"{source.name.split('.')[0]}-{file_digest(staged)[:12]}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    put_in_place(staged, path)
    return path
