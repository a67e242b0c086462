"""Embedding versions: registering them, reading them, marking one failed, and what was measured on them."""

import builtins
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.registry.access.audit import Action, Audit
from portrait.registry.database.database import Database
from portrait.registry.database.tables import (
    LIVE_STATES,
    AssignmentRow,
    EmbeddingVersionRow,
    EvaluationRow,
    VersionState,
)
from portrait.registry.errors import Conflict, FingerprintMismatch, InvalidInput
from portrait.registry.records.records import AsOfs, EmbeddingVersion, Evaluation
from portrait.registry.rows import as_ofs, bump, version_record, version_row
from portrait.registry.text import free_text, one_line

_FAMILY = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """The description of a trained model to register as a version; the registry gives it a number."""

    family: str  # autoencoder
    fingerprint: str
    dimension: int
    run: str  # unique name of the training run; registering it twice gives one version
    artifact: str  # directory, relative to the home
    snapshot: str
    data_from: datetime | None  # oldest training event
    data_to: datetime  # as-of of the training snapshot, exclusive
    feature_schema: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)
    code_revision: str = "unknown"

    def __post_init__(self) -> None:
        """Raise InvalidInput, with the value, for a field that the registry cannot keep."""
        if not _FAMILY.fullmatch(self.family):
            raise InvalidInput(f"family {self.family!r}: give lower case letters, digits and _, at most 32")
        if self.dimension < 1:
            raise InvalidInput(f"dimension {self.dimension}: give at least 1")
        for name, limit in (("fingerprint", 64), ("run", 128), ("snapshot", 128), ("code_revision", 64)):
            one_line(name, getattr(self, name), limit)
        path = PurePosixPath(self.artifact)
        if not self.artifact or path.is_absolute() or ".." in path.parts:
            raise InvalidInput(f"artifact {self.artifact!r}: give a path relative to the home")
        for name in ("feature_schema", "config"):
            _as_json(name, getattr(self, name))
        _finite_metrics(self.metrics)


class Versions:
    """The embedding versions of a registry."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def register(self, new: NewVersion) -> EmbeddingVersion:
        """Register a trained model as `<family>-<n>`, state registered; its parent is the newest earlier version.

        The same run again returns the version it got; raises FingerprintMismatch when its fingerprint has changed.
        """
        with self._audit.change(Action.VERSION_REGISTER, f"run {new.run}") as entry:
            session = entry.session
            row = _row_of_run(session, new)
            if row is None:
                _newest(session, new.family, lock=True)  # lock the parent before the instance: see registry.rows
                bump(session)  # for its lock: two registrations at once take turns and get two numbers
                row = _row_of_run(session, new)
            entry.changed = row is None
            row = row or _insert(session, new)
            entry.subject = f"version {row.id}"
            entry.detail |= {"run": new.run, "fingerprint": new.fingerprint, "parent": row.parent}
            return version_record(session, row)

    def get(self, id: str) -> EmbeddingVersion:
        """The version `id`; raises NotFound, which names the known ones."""
        with self._database.reading() as session:
            return version_record(session, version_row(session, id))

    def fail(self, id: str, reason: str) -> EmbeddingVersion:
        """Mark a version as failed for good; the first reason stays. Raises Conflict while a consumer reads it."""
        with self._audit.change(Action.VERSION_FAIL, f"version {id}") as entry:
            session = entry.session
            reason = free_text("reason", reason) or "no reason given"
            row = version_row(session, id, lock=True)
            entry.changed = row.state != VersionState.FAILED
            if entry.changed:
                _require_failable(session, row)
                entry.detail |= {"reason": reason, "was": row.state}
                row.state, row.failure = VersionState.FAILED, reason
                session.flush()
                bump(session, projected=False)  # its view stays
            return version_record(session, row)

    def record_evaluation(
        self,
        version: str,
        *,
        fingerprint: str,
        task: str,
        metric: str,
        value: float,
        as_of: datetime,
        data_stamp: str | None = None,
    ) -> Evaluation:
        """Keep a metric of a version on a task; raises FingerprintMismatch when another model was measured.

        `data_stamp` names the data that it was measured on: metrics compare within one stamp, and never without.
        """
        with self._audit.change(Action.EVALUATION_RECORD, f"version {version}") as entry:
            session = entry.session
            if not math.isfinite(value):
                raise InvalidInput(f"{metric} of {version} on {task} is {value}: only finite values can be compared")
            known = version_row(session, version).fingerprint
            if known != fingerprint:
                raise FingerprintMismatch(
                    f"version {version} has fingerprint {known}, but {fingerprint} was evaluated: evaluate its artifact"
                )
            row = EvaluationRow(
                version=version,
                fingerprint=fingerprint,
                task=one_line("task", task, 128),
                metric=one_line("metric", metric, 64),
                value=float(value),
                as_of=as_of,
                created_at=datetime.now(UTC),
                data_stamp=None if data_stamp is None else one_line("data_stamp", data_stamp, 128),
            )
            session.add(row)
            session.flush()
            entry.detail |= {"task": row.task, "metric": row.metric, "value": row.value, "data_stamp": row.data_stamp}
            return Evaluation.from_row(row)

    def evaluations(self, id: str) -> builtins.list[Evaluation]:
        """The evaluations of a version, oldest first; raises NotFound."""
        with self._database.reading() as session:
            version_row(session, id)
            statement = select(EvaluationRow).where(EvaluationRow.version == id).order_by(EvaluationRow.id)
            return [Evaluation.from_row(row) for row in session.scalars(statement)]

    def list(self, states: Collection[VersionState] | None = None) -> builtins.list[EmbeddingVersion]:
        """All versions, or those in one of `states`, by family and number."""
        statement = select(EmbeddingVersionRow).order_by(EmbeddingVersionRow.family, EmbeddingVersionRow.number)
        if states is not None:
            statement = statement.where(EmbeddingVersionRow.state.in_(builtins.list(states)))
        with self._database.reading() as session:
            times = as_ofs(session)
            return [EmbeddingVersion.from_row(row, times.get(row.id, AsOfs())) for row in session.scalars(statement)]


def _row_of_run(session: Session, new: NewVersion) -> EmbeddingVersionRow | None:
    row = session.scalars(select(EmbeddingVersionRow).where(EmbeddingVersionRow.run == new.run)).first()
    if row is not None and row.fingerprint != new.fingerprint:
        raise FingerprintMismatch(
            f"run {new.run} is registered as {row.id} with fingerprint {row.fingerprint}, not {new.fingerprint}: "
            "a changed model needs a run of its own"
        )
    return row


def _newest(session: Session, family: str, *, lock: bool = False) -> EmbeddingVersionRow | None:
    statement = select(EmbeddingVersionRow).where(EmbeddingVersionRow.family == family)
    statement = statement.order_by(EmbeddingVersionRow.number.desc()).limit(1)
    return session.scalars(statement.with_for_update(read=True, key_share=True) if lock else statement).first()


def _insert(session: Session, new: NewVersion) -> EmbeddingVersionRow:
    newest = _newest(session, new.family)
    number = newest.number + 1 if newest else 1
    row = EmbeddingVersionRow(
        id=f"{new.family}-{number}",
        family=new.family,
        number=number,
        fingerprint=new.fingerprint,
        dimension=int(new.dimension),
        state=VersionState.REGISTERED,
        run=new.run,
        artifact=new.artifact,
        parent=newest.id if newest else None,
        snapshot=new.snapshot,
        data_from=new.data_from,
        data_to=new.data_to,
        feature_schema=_as_json("feature_schema", new.feature_schema),
        config=_as_json("config", new.config),
        metrics=_finite_metrics(new.metrics),
        code_revision=new.code_revision,
        created_at=datetime.now(UTC),
    )
    session.add(row)
    session.flush()
    return row


def _as_json(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as it comes back from the database; raises InvalidInput when it is not JSON, as with NaN."""
    try:
        stored: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} cannot be kept as JSON ({error}): {value!r}") from error
    return stored


def _finite_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise InvalidInput(f"metric {name} is {value}: leave it out, only finite values can be compared")
    return {name: float(value) for name, value in metrics.items()}


def _require_failable(session: Session, row: EmbeddingVersionRow) -> None:
    if row.state not in LIVE_STATES:
        raise Conflict(f"version {row.id} is {row.state}: it can no longer fail")
    reads = (AssignmentRow.stable == row.id) | (AssignmentRow.canary == row.id)
    consumers = session.scalars(select(AssignmentRow.consumer).where(reads).order_by(AssignmentRow.consumer)).all()
    if consumers:
        raise Conflict(f"version {row.id} is read by {', '.join(consumers)}: roll them back or promote another first")
