"""What an ingest did, table by table."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


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

    @property
    def rejected_rows(self) -> int:
        """Rejected rows of all reasons."""
        return sum(self.rejected.values())


@dataclass(frozen=True)
class IngestReport:
    """What one ingest call did; None for a table that it was not given."""

    events: TableReport | None = None
    items: TableReport | None = None
    users: TableReport | None = None

    def tables(self) -> Iterator[tuple[str, TableReport]]:
        """Name and report of each table that was given."""
        named = (("events", self.events), ("items", self.items), ("users", self.users))
        return ((name, report) for name, report in named if report is not None)

    def read_from(self, path: Path) -> "IngestReport":
        """The report with this path as its tables' file: what an adapter read, and not its passing conversion."""
        return IngestReport(**{name: replace(report, file=path) for name, report in self.tables()})

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {name: _plain(report) for name, report in self.tables()}


def _plain(report: TableReport) -> dict[str, Any]:
    return asdict(report) | {"file": str(report.file), "rejects": str(report.rejects) if report.rejects else None}
