"""Tables of consumers, their promotions, gates and heads."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from portrait.infra.tables.layout import moment, short_text, table_of
from portrait.registry.records.records import Assignment, Consumer, Head, Promotion
from portrait.registry.records.verdicts import GateOutcome, Verdict


def consumers_table(consumers: Iterable[Consumer], assignments: Mapping[str, Assignment]) -> Table:
    """Consumers and the version that each reads now; `assignments` are by consumer name."""
    table = table_of("Consumers", "consumer", "owner", "task", "reads", "revision", "since")
    for consumer in consumers:
        table.add_row(consumer.name, consumer.owner, consumer.task, *_reads(assignments.get(consumer.name)))
    return table


def consumer_table(consumer: Consumer, assignment: Assignment | None) -> Table:
    """One consumer: its assignment and its gate settings."""
    table, max_age = table_of(consumer.name, "", ""), consumer.max_age_seconds
    table.add_row("owner", consumer.owner)
    table.add_row("task", consumer.task or "-")
    table.add_row("reads", _reads(assignment)[0])
    table.add_row("wants a head", "yes" if consumer.wants_head else "no")
    table.add_row("oldest vectors", "of any age" if max_age is None else f"{max_age:,.6g} s, else computed anew")
    table.add_section()
    changed = consumer.gates.to_json()
    for name, value in asdict(consumer.gates).items():
        table.add_row(f"gate: {name}", f"{short_text(value)}{'' if name in changed else '  (default)'}")
    return table


def history_table(consumer: str, rows: Iterable[Promotion]) -> Table:
    """Changes of a consumer's assignment, oldest first."""
    table = table_of(f"History of {consumer}", "revision", "when", "what", "from", "to", "who", "why")
    for row in rows:
        table.add_row(
            str(row.revision),
            moment(row.promoted_at),
            row.kind,
            row.from_version or "-",
            row.to_version + _canary(row.canary, row.canary_share),
            row.actor,
            f"{row.reason} (forced)" if row.forced else row.reason,
        )
    return table


def gates_table(title: str, verdicts: Iterable[Verdict]) -> Table:
    """The verdicts of gates, in the order of the policy."""
    table = table_of(title, "gate", "says", "why", "what to do")
    colours = {GateOutcome.ACCEPT: "green", GateOutcome.WAIT: "yellow", GateOutcome.REJECT: "red"}
    for verdict in verdicts:
        outcome = Text(verdict.outcome, style=colours[verdict.outcome])
        final = "" if verdict.accepted or verdict.forceable else " (cannot be forced)"
        table.add_row(verdict.gate, outcome, verdict.reason + final, verdict.remedy)
    return table


def heads_table(consumer: str, heads: Iterable[Head]) -> Table:
    """Heads of a consumer: their versions, tasks, metrics and locations."""
    table = table_of(
        f"Heads of {consumer}", "head", "version", "fingerprint", "task", "data", "as of", "metrics", "lives at"
    )
    for head in heads:
        metrics = "\n".join(f"{name} {value:.4g}" for name, value in head.metrics.items())
        trained_on = (str(head.id), head.version, head.fingerprint[:12])
        table.add_row(*trained_on, head.task, head.data_stamp, moment(head.as_of), metrics, head.location)
    return table


def _reads(assignment: Assignment | None) -> tuple[str, str, str]:
    """The versions that a consumer reads, the revision, and since when, as text."""
    if assignment is None:
        return "nothing yet", "", ""
    reads = assignment.stable + _canary(assignment.canary, assignment.canary_share)
    return reads, str(assignment.revision), moment(assignment.changed_at)


def _canary(version: str | None, share: float | None) -> str:
    return f"\ncanary {version} for {share:.4g}" if version else ""
