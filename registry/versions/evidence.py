"""The evidence rows of versions."""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.database.database import Database
from portrait.registry.database.tables import EvidenceRow
from portrait.registry.records.evidence_facts import KINDS, Evidence, EvidenceFacts, EvidenceKind, to_json
from portrait.registry.rows import version_row


class EvidenceLog:
    """The evidence about the versions of a registry."""

    def __init__(self, database: Database, actor: str) -> None:
        self._database = database
        self._actor = actor

    def record(self, version: str, *facts: EvidenceFacts, since: datetime | None = None) -> None:
        """Keep facts whose measurement began at `since` (default: now); raises NotFound for an unknown version.

        The beginning counts as the time of the evidence: a backfill that ended meanwhile was not measured.
        """
        measured_at = since or datetime.now(UTC)
        with self._database.transaction() as session:
            version_row(session, version)
            for one in facts:
                row = EvidenceRow(version=version, kind=KINDS[type(one)], facts=to_json(one), measured_at=measured_at)
                row.measured_by = self._actor
                session.add(row)

    def newest(self, version: str) -> dict[EvidenceKind, Evidence]:
        """The newest evidence of each kind that there is; raises NotFound for an unknown version."""
        with self._database.reading() as session:
            version_row(session, version)
            return newest_evidence(session, version)


def newest_evidence(session: Session, version: str) -> dict[EvidenceKind, Evidence]:
    """The newest evidence of each kind about a version."""
    newest: dict[EvidenceKind, Evidence] = {}
    for kind in KINDS.values():
        statement = select(EvidenceRow).where(EvidenceRow.version == version, EvidenceRow.kind == kind)
        row = session.scalars(statement.order_by(EvidenceRow.id.desc()).limit(1)).first()
        if row is not None:
            newest[kind] = Evidence.from_row(row)
    return newest
