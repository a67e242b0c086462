"""What commands show of data: files taken in, the state of the whole, embeddings."""

from collections.abc import Iterator

from rich.table import Table

from feature_repo.log.report import IngestReport
from infra.status import Status
from infra.tables.layout import moment, size, table_of
from serving.batch import Answer, EmbeddingBatch


def ingest_table(report: IngestReport) -> Table:
    """What happened to the rows of each file."""
    table = table_of("Ingest", "table", "rows", "accepted", "already known", "rejected", "why", "rejects file")
    for name, counts in report.tables():
        why = "\n".join(f"{reason}: {rows:,}" for reason, rows in sorted(counts.rejected.items()))
        numbers = (counts.read, counts.accepted, counts.duplicates, counts.rejected_rows)
        table.add_row(name, *(f"{number:,}" for number in numbers), why, str(counts.rejects or ""))
    return table


def status_tables(status: Status) -> Iterator[Table]:
    """The log in one line, then the live versions."""
    log = table_of(f"Portrait at {status.home}", "users", "events", "newest event")
    log.add_row(f"{status.log.users:,}", f"{status.log.events:,}", moment(status.log.newest_event))
    yield log
    versions = table_of(
        "Versions that hold data", "version", "state", "users online", "as of", "online", "offline", "kept alive by"
    )
    for one in status.versions:
        versions.add_row(
            one.version,
            one.state,
            f"{one.users_online:,} of {one.users_known:,}",
            moment(one.as_of),
            size(one.online_bytes),
            size(one.offline_bytes),
            "\n".join(one.kept_by) or "nothing: `portrait retire` may end it",
        )
    yield versions
    if status.gateways:
        gateways = table_of("Gateways", "gateway", "host", "serves generation", "heard of")
        for gateway in status.gateways:
            behind = status.generation - gateway.generation
            served = f"{gateway.generation}" + (f", {behind} behind" if behind > 0 else "")
            gateways.add_row(gateway.id, gateway.host, served, moment(gateway.seen_at))
        yield gateways


def embeddings_table(answer: Answer) -> Table:
    """Embeddings, the first numbers of each vector only."""
    title = ", ".join(f"{part.version} ({part.lane}, {part.fingerprint[:12]})" for part in answer.parts)
    table = table_of(title, "user", "version", "source", "age", "vector")
    for row in answer.rows(_embedding_rows):
        table.add_row(*row)
    return table


def _embedding_rows(batch: EmbeddingBatch) -> Iterator[tuple[str, ...]]:
    columns = zip(batch.user_ids, batch.source, batch.age_seconds, batch.stale, batch.vectors, strict=True)
    for user, source, age, stale, vector in columns:
        shown = ", ".join(f"{number:.4f}" for number in vector[:4])
        seconds = f"{age:,.0f} s{', too old' if stale else ''}"
        yield user, batch.version, source, seconds, f"[{shown}, ... {len(vector)} numbers]"
