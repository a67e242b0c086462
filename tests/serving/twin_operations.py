"""The registry's changes and rare queries in memory, for the HTTP API's tests."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from portrait.feature_repo.forgetting.tombstones import ForgettingReport, TrainedVersion
from portrait.registry.access.audit import AuditEvent, AuditOutcome
from portrait.registry.consumers.heads import NewHead
from portrait.registry.database.tables import GONE_STATES, PromotionKind, VersionState
from portrait.registry.errors import Conflict, FingerprintMismatch, GateRefused, InvalidInput, NotFound, PortraitError
from portrait.registry.records.gate_settings import GateSettings
from portrait.registry.records.grants import Grant
from portrait.registry.records.records import ApiKey, Assignment, Consumer, EmbeddingVersion, Head, Promotion
from portrait.registry.records.verdicts import Outcome, Verdict
from portrait.serving.operations.freshness import Delays, Freshness
from portrait.training.inspection.diff import MeasuredPair, VersionDiff, VersionSide
from tests.serving.twins import TwinSource

MOMENT = datetime(2024, 5, 3, tzinfo=UTC)


def secret(id: str) -> str:
    """The text of the twin's key of this id."""
    return f"portrait_{id}_{'s' * 35}{id:0>8}"


def key(id: str, name: str, *grants: str, revoked: bool = False) -> ApiKey:
    digest = hashlib.sha256(secret(id).encode()).hexdigest()
    allowed = tuple(Grant.parse(grant) for grant in grants)
    return ApiKey(id, name, digest, allowed, MOMENT, "ann", MOMENT if revoked else None)


@dataclass
class TwinOperations:
    """Operations on a TwinSource; two gates, of which `coverage` lets itself be forced."""

    source: TwinSource
    kept: list[Promotion] = field(default_factory=list)
    trained: list[Head] = field(default_factory=list)
    events: list[AuditEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, assigned in self.source.assignments.items():
            self.kept.append(_promotion(assigned, PromotionKind.PROMOTE, None, "ann", "first"))
            assert name == assigned.consumer

    def consumer_add(
        self, actor: str, name: str, owner: str, task: str, gates: Mapping[str, Any], wants_head: bool, max_age: float
    ) -> Consumer:
        wanted = Consumer(name, owner, task, MOMENT, GateSettings().overridden(gates), wants_head, max_age or None)
        existing = self.source.consumers.setdefault(name, wanted)
        if existing != wanted:
            raise Conflict(f"consumer {name} exists, owned by {existing.owner}")
        self._done(actor, "consumer.add", f"consumer {name}")
        return wanted

    def consumer_set(
        self,
        actor: str,
        name: str,
        owner: str | None,
        task: str | None,
        gates: Mapping[str, Any],
        wants_head: bool | None,
        max_age: float | None,
    ) -> Consumer:
        given = {"owner": owner, "task": task, "wants_head": wants_head}
        now = self._consumer(name)
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if max_age is not None:
            changes["max_age_seconds"] = max_age or None
        self.source.consumers[name] = replace(now, gates=now.gates.overridden(gates), **changes)
        self._done(actor, "consumer.set", f"consumer {name}")
        return self.source.consumers[name]

    def check(self, consumer: str, version: str, canary_share: float | None) -> tuple[Verdict, ...]:
        self._consumer(consumer)
        state = self.version(version).state
        dead = Verdict("state", Outcome.REJECT, f"{version} is {state}", "take another", forceable=False)
        alive = Verdict("state", Outcome.ACCEPT, f"{version} is {state}", forceable=False)
        covered = Verdict("coverage", Outcome.ACCEPT, "all users have a vector")
        waiting = Verdict("coverage", Outcome.WAIT, "91.2% are covered", f"run `portrait backfill {version}`")
        gone = state in (*GONE_STATES, VersionState.FAILED)
        return (dead if gone else alive, covered if state is VersionState.READY else waiting)

    def promote(
        self,
        actor: str,
        consumer: str,
        version: str,
        reason: str,
        canary_share: float | None,
        force: bool,
        expected_revision: int | None,
    ) -> Promotion:
        now = self._expected(consumer, expected_revision)
        self._gates(consumer, version, reason, force)
        if canary_share is not None:
            if now is None:
                raise Conflict(f"consumer {consumer} has no stable version: promote one first")
            changed = replace(now, canary=version, canary_share=canary_share)
            return self._change(actor, changed, PromotionKind.CANARY, reason, force)
        if now is not None and (now.stable, now.canary) == (version, None):
            raise Conflict(f"consumer {consumer} reads {version} already")
        changed = Assignment(consumer, version, None, None, now.revision if now else 0, MOMENT)
        return self._change(actor, changed, PromotionKind.PROMOTE, reason, force)

    def finish_canary(
        self, actor: str, consumer: str, reason: str, force: bool, expected_revision: int | None
    ) -> Promotion:
        now = self._with_canary(consumer, expected_revision)
        assert now.canary is not None
        self._gates(consumer, now.canary, reason, force)
        changed = replace(now, stable=now.canary, canary=None, canary_share=None)
        return self._change(actor, changed, PromotionKind.FINISH, reason, force)

    def abort_canary(self, actor: str, consumer: str, reason: str, expected_revision: int | None) -> Promotion:
        now = self._with_canary(consumer, expected_revision)
        return self._change(actor, replace(now, canary=None, canary_share=None), PromotionKind.ABORT, reason, False)

    def rollback(self, actor: str, consumer: str, reason: str, force: bool, expected_revision: int | None) -> Promotion:
        now = self._expected(consumer, expected_revision)
        left = [one.from_version for one in self.history(consumer, None) if one.kind is PromotionKind.PROMOTE]
        if now is None or left[-1] is None:
            raise Conflict(f"consumer {consumer} has nothing to go back to")
        self._gates(consumer, left[-1], reason, force)
        changed = replace(now, stable=left[-1], canary=None, canary_share=None)
        return self._change(actor, changed, PromotionKind.ROLLBACK, reason, force)

    def history(self, consumer: str, at: datetime | None) -> Sequence[Promotion]:
        self._consumer(consumer)
        return [one for one in self.kept if one.consumer == consumer and (at is None or one.promoted_at <= at)]

    def versions(self) -> Sequence[EmbeddingVersion]:
        return list(self.source.versions.values())

    def version(self, version: str) -> EmbeddingVersion:
        if version not in self.source.versions:
            raise NotFound(f"no version {version!r}")
        return self.source.versions[version]

    def diff(self, version: str, other: str) -> VersionDiff:
        a, b = (
            VersionSide(known.id, known.fingerprint, known.dimension, 1.0, known.metrics, 2.0)
            for known in (self.version(version), self.version(other))
        )
        pair = MeasuredPair("listens", "auc", "2024-05", 0.7, None)
        return VersionDiff(a, b, (pair,), 52, 52, 51, 10, 0.5, None, 0.75, 0.25)

    def retire(self, actor: str, version: str, reason: str) -> EmbeddingVersion:
        readers = [one.consumer for one in self.source.assignments.values() if version in (one.stable, one.canary)]
        if readers:
            raise Conflict(f"version {version} is read by {', '.join(readers)}")
        retired = replace(self.version(version), state=VersionState.RETIRED)
        self.source.versions[version] = retired
        self._done(actor, "version.retire", f"version {version}")
        return retired

    def forget(self, actor: str, user: str) -> ForgettingReport:
        subject = f"user {hashlib.sha256(user.encode()).hexdigest()[:16]}"
        self._done(actor, "user.forget", subject)
        trained = (TrainedVersion("autoencoder-1", "ready"),)
        return ForgettingReport(subject, MOMENT, MOMENT, {"events": 3}, trained, 0, (), ("backups",))

    def heads(self, consumer: str) -> Sequence[Head]:
        self._consumer(consumer)
        return [head for head in self.trained if head.consumer == consumer]

    def register_head(self, actor: str, head: NewHead) -> Head:
        self._consumer(head.consumer)
        known = self.version(head.version)
        if known.fingerprint != head.fingerprint:
            raise FingerprintMismatch(f"version {known.id} has fingerprint {known.fingerprint}, not {head.fingerprint}")
        measured = (head.task, head.data_stamp, head.as_of, dict(head.metrics), head.location)
        made = Head(len(self.trained) + 1, head.consumer, head.version, head.fingerprint, *measured, MOMENT, actor)
        self.trained.append(made)
        self._done(actor, "head.register", f"consumer {head.consumer}")
        return made

    def add_key(self, actor: str, name: str, grants: Sequence[Grant]) -> tuple[ApiKey, str]:
        for grant in grants:
            if grant.consumer not in (None, "*"):
                self._consumer(str(grant.consumer))
        made = key(f"{len(self.source.keys) + 0xA000:08x}", name, *map(str, grants))
        self.source.keys[made.id] = made
        self._done(actor, "key.add", f"key {made.id}")
        return made, secret(made.id)

    def keys(self) -> Sequence[ApiKey]:
        return list(self.source.keys.values())

    def revoke_key(self, actor: str, id: str) -> ApiKey:
        if id not in self.source.keys:
            raise NotFound("there is no such key: `portrait keys list` shows the ids")
        self.source.keys[id] = replace(self.source.keys[id], revoked_at=MOMENT)
        self._done(actor, "key.revoke", f"key {id}")
        return self.source.keys[id]

    def freshness(self) -> Freshness:
        delays = {"autoencoder-1": Delays((0.1, 1.0), (3, 1, 0), 0.75)}
        return Freshness((), 64, {5: 7}, 1.5, 0, delays, {"stored": 3}, {})

    def audit(self, since: datetime | None, after: int, limit: int) -> Sequence[AuditEvent]:
        wanted = (event for event in self.events if event.id > after and (since is None or event.at >= since))
        return list(wanted)[:limit]

    def refused(self, actor: str, subject: str, refusal: PortraitError) -> None:
        self._event(actor, "access", subject, AuditOutcome.REFUSED, {"reason": str(refusal)})

    def _consumer(self, name: str) -> Consumer:
        if name not in self.source.consumers:
            raise NotFound(f"there is no consumer {name[:80]!r}")
        return self.source.consumers[name]

    def _expected(self, consumer: str, expected: int | None) -> Assignment | None:
        self._consumer(consumer)
        now = self.source.assignments.get(consumer)
        revision = now.revision if now else 0
        if expected not in (None, revision):
            raise Conflict(f"consumer {consumer} is at revision {revision}, not {expected}")
        return now

    def _with_canary(self, consumer: str, expected: int | None) -> Assignment:
        now = self._expected(consumer, expected)
        if now is None or now.canary is None:
            raise Conflict(f"consumer {consumer} has no canary")
        return now

    def _gates(self, consumer: str, version: str, reason: str, force: bool) -> None:
        if force and not reason.strip():
            raise InvalidInput("force without a reason: say why")
        verdicts = self.check(consumer, version, None)
        against = [verdict for verdict in verdicts if not verdict.accepted and not (force and verdict.forceable)]
        if against:
            raise GateRefused("; ".join(map(str, against)), verdicts)

    def _change(self, actor: str, to: Assignment, kind: PromotionKind, reason: str, force: bool) -> Promotion:
        before = self.source.assignments.get(to.consumer)
        changed = replace(to, revision=to.revision + 1)
        self.source.assignments[to.consumer] = changed
        self.source.number += 1
        verdicts = self.check(to.consumer, to.canary or to.stable, to.canary_share)
        made = replace(_promotion(changed, kind, before and before.stable, actor, reason), forced=force, gates=verdicts)
        self.kept.append(made)
        self._done(actor, f"promotion.{kind}", f"consumer {to.consumer}")
        return made

    def _done(self, actor: str, action: str, subject: str) -> None:
        self._event(actor, action, subject, AuditOutcome.DONE, {})

    def _event(self, actor: str, action: str, subject: str, outcome: AuditOutcome, detail: dict[str, Any]) -> None:
        self.events.append(AuditEvent(len(self.events) + 1, MOMENT, actor, action, subject, outcome, detail))


def _promotion(to: Assignment, kind: PromotionKind, before: str | None, actor: str, reason: str) -> Promotion:
    change = (to.consumer, to.revision, kind, before, to.stable, actor, reason, False, ())
    return Promotion(*change, MOMENT, to.canary, to.canary_share)
