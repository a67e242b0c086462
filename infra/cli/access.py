"""What commands show of API keys and the audit."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from portrait.infra.tables.layout import moment, shown, table_of
from portrait.registry.access.audit import AuditEvent, AuditOutcome
from portrait.registry.records.records import ApiKey


def keys_table(keys: Iterable[ApiKey]) -> Table:
    """Keys of the HTTP API and what they may do."""
    table = table_of("API keys", "id", "name", "may", "made", "by", "revoked")
    for key in keys:
        may = "\n".join(map(str, key.grants))
        table.add_row(key.id, key.name, may, moment(key.created_at), key.created_by, moment(key.revoked_at))
    return table


def audit_table(events: Iterable[AuditEvent]) -> Table:
    """What was changed or refused, oldest first."""
    table = table_of("Audit", "when", "who", "what", "on", "outcome", "detail")
    for event in events:
        detail = "  ".join(f"{name} {shown(value)}" for name, value in event.detail.items() if value not in ("", None))
        outcome = Text(event.outcome, style="red" if event.outcome == AuditOutcome.REFUSED else "")
        table.add_row(moment(event.at), event.actor, event.action, event.subject, outcome, detail)
    return table
