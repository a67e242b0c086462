"""Operations on an instance, by command line or HTTP: evidence first, then the registry, then Feast follows."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from portrait.registry.access.audit import Action
from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Conflict
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import EmbeddingVersion, Promotion, Replica
from portrait.registry.records.verdicts import Verdict
from portrait.registry.registry import Registry
from portrait.registry.serving_state.replicas import SHARDS
from portrait.serving.operations.freshness import Freshness, read_freshness

if TYPE_CHECKING:  # Feast and torch take seconds to import, and most of these need neither
    from portrait.feature_repo.correction.event_corrections import EventCorrections
    from portrait.feature_repo.forgetting.forgetting import Forgetting
    from portrait.feature_repo.forgetting.tombstones import ForgettingReport
    from portrait.feature_repo.store.feature_repo import FeatureRepo
    from portrait.training.inspection.diff import VersionDiff

log = logging.getLogger(__name__)

REPLICAS_SECONDS = 15.0
"""How long a retirement waits for replicas that still follow an earlier state, and forgetting for refresh shards."""

Later = Callable[[Callable[[], object]], object]


def run_at_once(work: Callable[[], object]) -> object:
    """Run the work before going on; the command line uses it as `later`."""
    return work()


class Operations:
    """Changes and questions that the registry cannot answer alone: evidence is gathered before, or Feast follows after.

    Every change is made for an actor. What the registry can answer alone is asked of `registry` itself.
    `apply` brings Feast to the registry's state; a failure of it never undoes a change, as Feast only shows what
    the registry decides. `later` runs what may take minutes: at once on the command line, in a thread in a gateway.
    """

    def __init__(
        self,
        registry: Registry,
        repo: "FeatureRepo",
        apply: Callable[[], object],
        later: Later = run_at_once,
        watched: Registry | None = None,
    ) -> None:
        """`watched` is the same registry over connections that are cut when they hang, for frequent queries."""
        self.registry = registry
        self._watched = watched or registry
        self._repo = repo
        self._apply = apply
        self._later = later

    def freshness(self) -> Freshness:
        """The backlog of the refresh and its delays; raises Unavailable."""
        return read_freshness(self._watched)

    def check(
        self, consumer: str, version: str, canary_share: float | None = None, progress: Progress | None = None
    ) -> tuple[Verdict, ...]:
        """The verdicts that a promotion would get now, on fresh evidence; changes nothing."""
        if self.registry.promotions.check(consumer, version, canary_share):  # raises errors that need no evidence
            self._inspect(version, self.registry, progress)
        return self.registry.promotions.check(consumer, version, canary_share)

    def promote(
        self,
        actor: str,
        consumer: str,
        version: str,
        reason: str = "",
        canary_share: float | None = None,
        force: bool = False,
        expected_revision: int | None = None,
        progress: Progress | None = None,
    ) -> Promotion:
        """Move a consumer to a version, or a share of its users, on fresh evidence; see Promotions.promote."""
        registry = self.registry.acting(actor)
        action = Action.PROMOTE if canary_share is None else Action.CANARY
        with registry.audit.preparing(action, f"consumer {consumer}"):
            expected = self._revision(consumer, expected_revision)
            if registry.promotions.check(consumer, version, canary_share):  # raises errors that need no evidence
                self._inspect(version, registry, progress)
        promotion = registry.promotions.promote(
            consumer, version, reason, canary_share=canary_share, force=force, expected_revision=expected
        )
        self._later(self._project)
        return promotion

    def finish_canary(
        self,
        actor: str,
        consumer: str,
        reason: str = "",
        force: bool = False,
        expected_revision: int | None = None,
        progress: Progress | None = None,
    ) -> Promotion:
        """Make the canary the stable version, on fresh evidence; see Promotions.finish_canary."""
        registry = self.registry.acting(actor)
        with registry.audit.preparing(Action.CANARY_FINISH, f"consumer {consumer}"):
            expected = self._revision(consumer, expected_revision)
            assignment = registry.consumers.assignment(consumer)
            if assignment is not None and assignment.canary is not None:
                self._inspect(assignment.canary, registry, progress)
        promotion = registry.promotions.finish_canary(consumer, reason, force=force, expected_revision=expected)
        self._later(self._project)
        return promotion

    def rollback(
        self,
        actor: str,
        consumer: str,
        reason: str = "",
        force: bool = False,
        expected_revision: int | None = None,
        progress: Progress | None = None,
    ) -> Promotion:
        """Go back to the version before the last stable promotion, if it still loads and covers its users.

        Inspects that version only, so it works while the newest one is broken. Moves no data.
        """
        registry = self.registry.acting(actor)
        with registry.audit.preparing(Action.ROLLBACK, f"consumer {consumer}"):
            expected = self._revision(consumer, expected_revision)
            self._inspect(registry.promotions.rollback_target(consumer), registry, progress)
        promotion = registry.promotions.rollback(consumer, reason, force=force, expected_revision=expected)
        self._later(self._project)
        return promotion

    def diff(self, version: str, other: str, progress: Progress | None = None) -> "VersionDiff":
        """The difference of two versions, from their stored vectors; raises NotFound."""
        from portrait.training.inspection.diff import diff_versions

        versions = self.registry.versions
        return diff_versions(self._repo, versions.get(version), versions.get(other), progress=progress)

    def retire(self, actor: str, version: str, reason: str = "", progress: Progress | None = None) -> EmbeddingVersion:
        """End the life of a version: from the commit on nothing reads it, then its data is deleted.

        If it is killed or fails in between, the version stays retiring and another call goes on. Raises Conflict,
        which names the pins, while something pins the version.
        """
        registry = self.registry.acting(actor)
        generation = registry.retirements.begin(version, reason)
        self._later(lambda: self._remove(registry, version, generation, progress or silent))
        return registry.versions.get(version)

    def resume_retirements(self) -> None:
        """Go on with all retirements that were interrupted."""
        for version in self.registry.versions.list((VersionState.RETIRING,)):
            self.retire(self.registry.actor, version.id)

    def forget(self, actor: str, user: str, progress: Progress | None = None) -> "ForgettingReport":
        """Delete all data of a user, and accept no more until `lift`; see Forgetting.forget.

        If it is killed or fails in between, another call goes on.
        """
        return self._forgetting(actor, progress or silent).forget(user, progress)

    def lift(self, actor: str, user: str) -> str:
        """Accept records of a forgotten user again; returns the user's name in the audit."""
        return self._forgetting(actor, silent).lift(user)

    def merge(self, actor: str, anonymous: str, known: str, progress: Progress | None = None) -> "ForgettingReport":
        """Make what is known of one user part of another, and forget the first; see UserMerge.merge.

        If it is killed or fails in between, another call goes on.
        """
        from portrait.feature_repo.correction.user_merge import UserMerge

        registry, report = self.registry.acting(actor), progress or silent
        merge = UserMerge(self._repo, registry, lambda generation: self._await_shards(generation, report))
        return merge.merge(anonymous, known, progress)

    def delete_event(self, actor: str, user: str, event: str) -> str:
        """Delete an event of a user for good; returns the event's name in the audit, see EventCorrections.delete."""
        return self._corrections(actor).delete(user, event)

    def correct_event(self, actor: str, user: str, event: str, changes: Mapping[str, object]) -> dict[str, object]:
        """Change fields of a user's event; returns the event as it is now, see EventCorrections.correct."""
        return self._corrections(actor).correct(user, event, changes)

    def lift_event(self, actor: str, event: str) -> str:
        """Accept a deleted event again when it is sent; returns its name in the audit."""
        return self._corrections(actor).lift(event)

    def _corrections(self, actor: str) -> "EventCorrections":
        from portrait.feature_repo.correction.event_corrections import EventCorrections

        return EventCorrections(self._repo, self.registry.acting(actor))

    def _forgetting(self, actor: str, progress: Progress) -> "Forgetting":
        from portrait.feature_repo.forgetting.forgetting import Forgetting

        registry = self.registry.acting(actor)
        return Forgetting(self._repo, registry, lambda generation: self._await_shards(generation, progress))

    def _revision(self, consumer: str, expected: int | None) -> int:
        """The revision that the evidence is gathered for; another change in the meantime makes this one a conflict."""
        assignment = self.registry.consumers.assignment(consumer)  # an unknown consumer is not inspected for
        if expected is not None:
            return expected
        return assignment.revision if assignment else 0

    def _inspect(self, version: str, registry: Registry, progress: Progress | None) -> None:
        from portrait.training.inspection.inspection import inspect_version

        since, known = datetime.now(UTC), registry.versions.get(version)
        registry.evidence.record(version, *inspect_version(self._repo, known, progress=progress), since=since)

    def _project(self) -> None:
        try:
            self._apply()
        except Exception as error:  # any error of Feast or its database: the registry has committed
            log.warning(
                "the change is in force, but plain Feast clients do not see it yet (%s): run `portrait apply`", error
            )

    def _remove(self, registry: Registry, version: str, generation: int, progress: Progress) -> None:
        from portrait.training.backfill.vectors_at_rest import delete_offline

        known = registry.versions.get(version)
        self._await_replicas(version, generation, progress)
        self._repo.delete_vectors(known, progress)
        self._apply()  # the view leaves
        delete_offline(self._repo.settings.home, version)
        registry.retirements.finish(version)

    def _await_replicas(self, version: str, generation: int, progress: Progress) -> None:
        behind = self.registry.replicas.wait(generation, REPLICAS_SECONDS, progress=progress)
        if behind:
            raise Conflict(
                f"version {version} is retiring, but these still follow an earlier state: {_replica_names(behind)}. "
                f"Its vectors stay until they catch up or are stopped: then run `portrait retire {version}` again"
            )

    def _await_shards(self, generation: int, progress: Progress) -> None:
        behind = self.registry.replicas.wait(generation, REPLICAS_SECONDS, SHARDS, progress)
        if behind:
            raise Conflict(
                f"no more records of this user are accepted, but these refresh shards do not know that yet: "
                f"{_replica_names(behind)}. "
                "Nothing is deleted until they follow or are stopped: then forget, or merge, the user again"
            )


def _replica_names(replicas: Sequence[Replica]) -> str:
    return ", ".join(f"{replica.role} {replica.id} on {replica.host}" for replica in replicas)
