"""What commands show people: records as tables for the terminal."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from rich.table import Table

from feature_repo.log.report import IngestReport
from infra.status import Status
from registry.records import Assignment, Consumer, EmbeddingVersion, Promotion
from serving.batch import EmbeddingBatch


def ingest_table(report: IngestReport) -> Table:
    """What happened to the rows of each file."""
    table = _table("Ingest", "table", "rows", "accepted", "already known", "rejected", "why", "rejects file")
    for name, counts in report.tables():
        why = "\n".join(f"{reason}: {rows:,}" for reason, rows in sorted(counts.rejected.items()))
        numbers = (counts.read, counts.accepted, counts.duplicates, counts.rejected_rows)
        table.add_row(name, *(f"{number:,}" for number in numbers), why, str(counts.rejects or ""))
    return table


def versions_table(versions: Iterable[EmbeddingVersion]) -> Table:
    """Embedding versions: what they are, what they were trained on, how far their vectors reach."""
    table = _table(
        "Embedding versions", "version", "state", "fingerprint", "dim", "trained on events", "vectors as of", "code"
    )
    for version in versions:
        window = f"{_day(version.data_from)} .. {_day(version.data_to)}"
        table.add_row(
            version.id,
            version.state,
            version.fingerprint[:12],
            str(version.dimension),
            window,
            _day(version.last_as_of),
            version.code_revision,
        )
    return table


def consumers_table(consumers: Iterable[Consumer], assignments: Mapping[str, Assignment]) -> Table:
    """Consumers and the version that each reads now; `assignments` by consumer name."""
    table = _table("Consumers", "consumer", "owner", "task", "reads", "revision", "since")
    for consumer in consumers:
        assignment = assignments.get(consumer.name)
        reads = ("nothing yet", "", "")
        if assignment is not None:
            reads = (assignment.stable, str(assignment.revision), _moment(assignment.changed_at))
        table.add_row(consumer.name, consumer.owner, consumer.task, *reads)
    return table


def history_table(consumer: str, rows: Iterable[Promotion]) -> Table:
    """Changes of a consumer's assignment, oldest first."""
    table = _table(f"History of {consumer}", "revision", "when", "what", "from", "to", "who", "why")
    for row in rows:
        table.add_row(
            str(row.revision),
            _moment(row.promoted_at),
            row.kind,
            row.from_version or "-",
            row.to_version,
            row.actor,
            row.reason,
        )
    return table


def status_tables(status: Status) -> Iterator[Table]:
    """The log in one line, then the live versions."""
    log = _table(f"Portrait at {status.home}", "users", "events", "newest event")
    log.add_row(f"{status.log.users:,}", f"{status.log.events:,}", _moment(status.log.newest_event))
    yield log
    versions = _table("Live versions", "version", "state", "users online", "as of", "online", "offline", "read by")
    for one in status.versions:
        versions.add_row(
            one.version,
            one.state,
            f"{one.users_online:,} of {one.users_known:,}",
            _moment(one.as_of),
            _size(one.online_bytes),
            _size(one.offline_bytes),
            ", ".join(one.consumers) or "nobody",
        )
    yield versions


def embeddings_table(batch: EmbeddingBatch) -> Table:
    """Embeddings, the first numbers of each vector only."""
    table = _table(f"{batch.version} ({batch.fingerprint[:12]})", "user", "source", "age", "vector")
    for user, source, age, vector in zip(batch.user_ids, batch.source, batch.age_seconds, batch.vectors, strict=True):
        shown = ", ".join(f"{number:.4f}" for number in vector[:4])
        table.add_row(user, source, f"{age:,.0f} s", f"[{shown}, ... {len(vector)} numbers]")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _day(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d}"


def _moment(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
