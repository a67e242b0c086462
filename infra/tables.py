"""What commands show people: records as tables for the terminal."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from feature_repo.log.report import IngestReport
from infra.status import Status
from registry.audit import AuditEvent, AuditOutcome
from registry.records import ApiKey, Assignment, Consumer, EmbeddingVersion, Head, Promotion
from registry.verdicts import Outcome, Verdict
from serving.batch import Answer, EmbeddingBatch

if TYPE_CHECKING:  # torch is not needed to draw a table
    from training.diff import VersionDiff


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


def version_table(version: EmbeddingVersion) -> Table:
    """One version with its lineage: what it was made of, by which code, and what it scored."""
    table = _table(version.id, "", "")
    lineage = {
        "state": version.state if version.failure is None else f"{version.state}: {version.failure}",
        "fingerprint": version.fingerprint,
        "dimension": version.dimension,
        "parent": version.parent,
        "trained on events": f"{_moment(version.data_from)} .. {_moment(version.data_to)}",
        "snapshot": version.snapshot,
        "vectors as of": _moment(version.last_as_of),
        "run": version.run,
        "artifact": version.artifact,
        "code": version.code_revision,
        "registered": _moment(version.created_at),
    }
    groups = {"features": version.feature_schema, "config": version.config, "metrics": version.metrics}
    for name, value in lineage.items():
        table.add_row(name, "-" if value is None else str(value))
    for group, values in groups.items():
        table.add_section()
        for name, value in values.items():
            table.add_row(f"{group}: {name}", _value(value))
    return table


def consumer_table(consumer: Consumer, assignment: Assignment | None) -> Table:
    """One consumer: what it reads, and what its gates ask for."""
    table = _table(consumer.name, "", "")
    table.add_row("owner", consumer.owner)
    table.add_row("task", consumer.task or "-")
    table.add_row("reads", _reads(assignment)[0])
    table.add_row("wants a head", "yes" if consumer.wants_head else "no")
    table.add_section()
    changed = consumer.gates.to_json()
    for name, value in asdict(consumer.gates).items():
        table.add_row(f"gate: {name}", f"{_value(value)}{'' if name in changed else '  (default)'}")
    return table


def consumers_table(consumers: Iterable[Consumer], assignments: Mapping[str, Assignment]) -> Table:
    """Consumers and the version that each reads now; `assignments` by consumer name."""
    table = _table("Consumers", "consumer", "owner", "task", "reads", "revision", "since")
    for consumer in consumers:
        table.add_row(consumer.name, consumer.owner, consumer.task, *_reads(assignments.get(consumer.name)))
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
            row.to_version + _canary(row.canary, row.canary_share),
            row.actor,
            f"{row.reason} (forced)" if row.forced else row.reason,
        )
    return table


def gates_table(title: str, verdicts: Iterable[Verdict]) -> Table:
    """What every gate says, in the order in which they are asked."""
    table = _table(title, "gate", "says", "why", "what to do")
    colours = {Outcome.ACCEPT: "green", Outcome.WAIT: "yellow", Outcome.REJECT: "red"}
    for verdict in verdicts:
        outcome = Text(verdict.outcome, style=colours[verdict.outcome])
        final = "" if verdict.accepted or verdict.forceable else " (cannot be forced)"
        table.add_row(verdict.gate, outcome, verdict.reason + final, verdict.remedy)
    return table


def diff_table(diff: "VersionDiff") -> Table:
    """Two versions side by side, and how far their spaces have moved."""
    table = _table(f"{diff.a.version} and {diff.b.version}", "", diff.a.version, diff.b.version, "between them")
    sides = (diff.a, diff.b)
    table.add_row("fingerprint", *(side.fingerprint[:12] for side in sides))
    table.add_row("dimension", *(str(side.dimension) for side in sides))
    table.add_row("coverage", *(f"{side.coverage:.2%}" for side in sides))
    for name in {**diff.a.metrics, **diff.b.metrics}:
        table.add_row(f"training: {name}", *(_number(side.metrics.get(name)) for side in sides))
    for pair in diff.measured:
        on = f"{pair.metric} on {pair.task}" + (f" ({pair.data_stamp})" if pair.data_stamp else "")
        table.add_row(on, _number(pair.a), _number(pair.b))
    table.add_section()
    table.add_row("users compared", "", "", f"{diff.users_compared:,} of {diff.users_known:,}")
    table.add_row(f"neighbour overlap@{diff.neighbours}", "", "", _number(diff.neighbour_overlap))
    table.add_row("mean cosine, raw", "", "", _number(diff.cosine_raw))
    table.add_row("mean cosine, after the best rotation", "", "", _number(diff.cosine_rotated))
    table.add_row("mean norm", *(_number(side.mean_norm) for side in sides), f"drift {_number(diff.norm_drift)}")
    return table


def heads_table(consumer: str, heads: Iterable[Head]) -> Table:
    """Heads of a consumer: on which version, what they scored on what, where they live."""
    table = _table(
        f"Heads of {consumer}", "head", "version", "fingerprint", "task", "data", "as of", "metrics", "lives at"
    )
    for head in heads:
        metrics = "\n".join(f"{name} {value:.4g}" for name, value in head.metrics.items())
        trained_on = (str(head.id), head.version, head.fingerprint[:12])
        table.add_row(*trained_on, head.task, head.data_stamp, _moment(head.as_of), metrics, head.location)
    return table


def keys_table(keys: Iterable[ApiKey]) -> Table:
    """Keys of the HTTP API and what they may do."""
    table = _table("API keys", "id", "name", "may", "made", "by", "revoked")
    for key in keys:
        may = "\n".join(map(str, key.grants))
        table.add_row(key.id, key.name, may, _moment(key.created_at), key.created_by, _moment(key.revoked_at))
    return table


def audit_table(events: Iterable[AuditEvent]) -> Table:
    """What was changed or refused, oldest first."""
    table = _table("Audit", "when", "who", "what", "on", "outcome", "detail")
    for event in events:
        detail = "  ".join(f"{name} {_value(value)}" for name, value in event.detail.items() if value not in ("", None))
        outcome = Text(event.outcome, style="red" if event.outcome == AuditOutcome.REFUSED else "")
        table.add_row(_moment(event.at), event.actor, event.action, event.subject, outcome, detail)
    return table


def status_tables(status: Status) -> Iterator[Table]:
    """The log in one line, then the live versions."""
    log = _table(f"Portrait at {status.home}", "users", "events", "newest event")
    log.add_row(f"{status.log.users:,}", f"{status.log.events:,}", _moment(status.log.newest_event))
    yield log
    versions = _table(
        "Live versions", "version", "state", "users online", "as of", "online", "offline", "kept alive by"
    )
    for one in status.versions:
        versions.add_row(
            one.version,
            one.state,
            f"{one.users_online:,} of {one.users_known:,}",
            _moment(one.as_of),
            _size(one.online_bytes),
            _size(one.offline_bytes),
            "\n".join(one.kept_by) or "nothing: `portrait retire` may end it",
        )
    yield versions
    if status.gateways:
        gateways = _table("Gateways", "gateway", "host", "serves generation", "heard of")
        for gateway in status.gateways:
            behind = status.generation - gateway.generation
            served = f"{gateway.generation}" + (f", {behind} behind" if behind > 0 else "")
            gateways.add_row(gateway.id, gateway.host, served, _moment(gateway.seen_at))
        yield gateways


def embeddings_table(answer: Answer) -> Table:
    """Embeddings, the first numbers of each vector only."""
    title = ", ".join(f"{part.version} ({part.lane}, {part.fingerprint[:12]})" for part in answer.parts)
    table = _table(title, "user", "version", "source", "age", "vector")
    for row in answer.rows(_embedding_rows):
        table.add_row(*row)
    return table


def _embedding_rows(batch: EmbeddingBatch) -> Iterator[tuple[str, ...]]:
    for user, source, age, vector in zip(batch.user_ids, batch.source, batch.age_seconds, batch.vectors, strict=True):
        shown = ", ".join(f"{number:.4f}" for number in vector[:4])
        yield user, batch.version, source, f"{age:,.0f} s", f"[{shown}, ... {len(vector)} numbers]"


def _reads(assignment: Assignment | None) -> tuple[str, str, str]:
    """What a consumer reads, its revision, and since when."""
    if assignment is None:
        return "nothing yet", "", ""
    reads = assignment.stable + _canary(assignment.canary, assignment.canary_share)
    return reads, str(assignment.revision), _moment(assignment.changed_at)


def _canary(version: str | None, share: float | None) -> str:
    return f"\ncanary {version} for {share:.4g}" if version else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


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
