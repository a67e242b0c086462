"""Tables of ingested files, of the status of an instance, and of embeddings."""

from collections.abc import Iterator

from rich.table import Table

from portrait.feature_repo.ingest.ingest_report import IngestReport
from portrait.feature_repo.log.partition import BUCKETS
from portrait.infra.jobs.status import Status
from portrait.infra.tables.layout import moment, seconds, size, table_of
from portrait.serving.reads.embedding_batch import Answer, EmbeddingBatch


def ingest_table(report: IngestReport) -> Table:
    """The counts of accepted, known and rejected rows of each file."""
    table = table_of("Ingest", "table", "rows", "accepted", "already known", "rejected", "why", "rejects file")
    for name, counts in report.tables():
        clamped = [f"accepted with the time of the ingest: {counts.clamped:,}"] if counts.clamped else []
        why = "\n".join([*(f"{reason}: {rows:,}" for reason, rows in sorted(counts.rejected.items())), *clamped])
        numbers = (counts.read, counts.accepted, counts.duplicates, counts.rejected_rows)
        table.add_row(name, *(f"{number:,}" for number in numbers), why, str(counts.rejects or ""))
    return table


def status_tables(status: Status) -> Iterator[Table]:
    """Tables of the log, the versions that hold data, the gateways and the refresh."""
    log = table_of(f"Portrait at {status.home}", "users", "events", "newest event", "in the inbox")
    events = f"{status.log.events:,}"
    log.add_row(f"{status.log.users:,}", events, moment(status.log.newest_event), f"{status.log.in_inbox:,}")
    yield log
    if status.online_store is not None:
        trouble = table_of("Online store", "trouble")
        trouble.add_row(status.online_store)
        yield trouble
    versions = table_of(
        "Versions that hold data", "version", "state", "users online", "as of", "online", "offline", "kept alive by"
    )
    for one in status.versions:
        versions.add_row(
            one.version,
            one.state,
            f"{'?' if one.users_online is None else f'{one.users_online:,}'} of {one.users_known:,}",
            moment(one.as_of),
            "?" if one.online_bytes is None else size(one.online_bytes),
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
    yield from _refresh_tables(status)


def _refresh_tables(status: Status) -> Iterator[Table]:
    refresh = status.refresh
    table = table_of(
        "Refresh", "shards", "buckets held", "rows waiting", "oldest", "in the broker", "not wholly forgotten"
    )
    waiting, oldest = f"{refresh.waiting:,}", f"{refresh.oldest_seconds:.1f} s" if refresh.waiting else "-"
    counts = (f"{refresh.in_broker:,}", f"{status.forgetting:,}")
    table.add_row(f"{len(refresh.shards)}", f"{refresh.held} of {BUCKETS}", waiting, oldest, *counts)
    yield table
    if refresh.delays or refresh.failing:
        delays = table_of("From event to readable", "version", "events", "half within", "99% within", "trouble")
        for version in sorted({*refresh.delays, *refresh.failing}):
            of_version = refresh.delays.get(version)
            counted = sum(of_version.counts) if of_version else 0
            within = (seconds(of_version.quantile(share) if of_version else None) for share in (0.5, 0.99))
            delays.add_row(version, f"{counted:,}", *within, refresh.failing.get(version, ""))
        yield delays
    if answered := sum(refresh.sources.values()):
        sources = table_of("Vectors answered", *refresh.sources)
        sources.add_row(*(f"{count:,} ({count / answered:.1%})" for count in refresh.sources.values()))
        yield sources


def embeddings_table(answer: Answer) -> Table:
    """Embeddings, with the first numbers of each vector."""
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
