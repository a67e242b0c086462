"""The protocol of the operations that the HTTP API calls, beyond the state in memory.

Every call may wait for the database, and a promotion also for a model to load. `actor` is the caller's name, which the
audit and the history keep.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from portrait.registry.access.audit import AuditEvent
from portrait.registry.errors import PortraitError
from portrait.registry.records.grants import Grant
from portrait.registry.records.records import ApiKey, Consumer, EmbeddingVersion, Head, Promotion
from portrait.registry.records.verdicts import Verdict

if TYPE_CHECKING:
    from portrait.feature_repo.forgetting.tombstones import ForgettingReport
    from portrait.registry.consumers.heads import NewHead
    from portrait.serving.operations.freshness import Freshness
    from portrait.training.inspection.diff import VersionDiff


class Operations(Protocol):
    """The registry's rare queries, and its changes. Every method raises Unavailable without a database."""

    def freshness(self) -> "Freshness":
        """The backlog of the refresh and its delays."""
        ...

    def consumer_add(
        self, actor: str, name: str, owner: str, task: str, gates: Mapping[str, Any], wants_head: bool, max_age: float
    ) -> Consumer:
        """Add a consumer; `gates` holds settings that are not the defaults, `max_age` is in seconds, 0 for any age.

        Raises InvalidInput, Conflict.
        """
        ...

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
        """Change the fields that are not None, and of `gates` the named settings, where None means the default.

        Raises NotFound, InvalidInput.
        """
        ...

    def check(self, consumer: str, version: str, canary_share: float | None) -> tuple[Verdict, ...]:
        """The verdict of each gate on a promotion; changes nothing. Raises NotFound, InvalidInput."""
        ...

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
        """Switch a consumer to a version, or begin a canary; raises NotFound, GateRefused, Conflict, InvalidInput."""
        ...

    def finish_canary(
        self, actor: str, consumer: str, reason: str, force: bool, expected_revision: int | None
    ) -> Promotion:
        """Make the canary the stable version; raises NotFound, GateRefused, Conflict, InvalidInput."""
        ...

    def abort_canary(self, actor: str, consumer: str, reason: str, expected_revision: int | None) -> Promotion:
        """End the canary, the stable version stays; raises NotFound, Conflict."""
        ...

    def rollback(self, actor: str, consumer: str, reason: str, force: bool, expected_revision: int | None) -> Promotion:
        """Go back to the stable version before; raises NotFound, GateRefused, Conflict, InvalidInput."""
        ...

    def history(self, consumer: str, at: datetime | None) -> Sequence[Promotion]:
        """Changes of a consumer's assignment, oldest first; with `at`, those up to then. Raises NotFound."""
        ...

    def versions(self) -> Sequence[EmbeddingVersion]:
        """All versions, whatever their state."""
        ...

    def version(self, version: str) -> EmbeddingVersion:
        """The version of this id; raises NotFound."""
        ...

    def diff(self, version: str, other: str) -> "VersionDiff":
        """The difference of two versions, from their stored vectors. Raises NotFound, Conflict when one has none."""
        ...

    def retire(self, actor: str, version: str, reason: str) -> EmbeddingVersion:
        """End a version's life, or go on with an interrupted retirement. Raises NotFound, Conflict."""
        ...

    def forget(self, actor: str, user: str) -> "ForgettingReport":
        """Delete all data of a user and accept no more from now on; raises InvalidInput, Conflict."""
        ...

    def heads(self, consumer: str) -> Sequence[Head]:
        """Heads of a consumer, oldest first; raises NotFound."""
        ...

    def register_head(self, actor: str, head: "NewHead") -> Head:
        """Keep a head; raises NotFound, FingerprintMismatch, Conflict, InvalidInput."""
        ...

    def add_key(self, actor: str, name: str, grants: Sequence[Grant]) -> tuple[ApiKey, str]:
        """A new API key: its record, and the key itself, which is stored nowhere. Raises InvalidInput."""
        ...

    def keys(self) -> Sequence[ApiKey]:
        """All keys, the revoked ones too."""
        ...

    def revoke_key(self, actor: str, id: str) -> ApiKey:
        """Revoke a key for good; raises NotFound."""
        ...

    def audit(self, since: datetime | None, after: int, limit: int) -> Sequence[AuditEvent]:
        """At most `limit` audit events, oldest first: from time `since` on, with ids greater than `after`."""
        ...

    def refused(self, actor: str, subject: str, refusal: PortraitError) -> None:
        """Keep in the audit that the API refused a request; never raises."""
        ...
