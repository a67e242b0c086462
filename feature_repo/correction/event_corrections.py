"""Corrections of single events: one is deleted for good, or its fields are changed under the same id."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time_ns

import orjson
import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.feature_repo.correction.log_moves import Move, OwnRow, OwnRows, Plan, carry_out
from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.forgetting.tombstones import TombstoneLog, subject_of
from portrait.feature_repo.ingest.event_ids import EventIds
from portrait.feature_repo.ingest.record_fields import UnfitRecord
from portrait.feature_repo.ingest.records import event_of
from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log.leases import Leases
from portrait.feature_repo.log.rewriting import rewriting
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.schemas import EVENTS, from_microseconds, plain_times
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.fenced_writes import FencedWrites
from portrait.registry.access.audit import Action
from portrait.registry.errors import Conflict, InvalidInput, LeaseLost, NotFound
from portrait.registry.registry import Registry

ATTEMPTS = 5

CHANGEABLE = ("item_id", "event_time", "service", "action", "weight")
"""Fields of an event that a correction may change."""


class EventCorrections:
    """Deletes and corrects events of one instance, for the registry's actor.

    The log is edited while the bucket is taken from its refresh shard: afterwards the shard finds the user's newest row
    at a new position, and so embeds the user anew at every version. Killed at any point, a correction is finished by
    the same call.
    """

    def __init__(self, repo: FeatureRepo, registry: Registry) -> None:
        self._repo = repo
        self._log = repo.log
        self._tombstones = TombstoneLog(registry.database, registry.audit)

    def delete(self, user_id: str, event_id: str) -> str:
        """Delete an event, and accept none of its id until `lift`; returns the event's name in the audit.

        Raises NotFound for an event that the user has not, Conflict while another rewriting goes on.
        """
        user, digest = User(user_id), self._digest(event_id)
        with rewriting(self._log.home):
            if not self._begun(digest, Action.EVENT_DELETE):
                self._event(user, event_id)
                self._begin(user, digest, Action.EVENT_DELETE)
            self._work(user, lambda read: _removal(read(user), event_id), event_id)
        self._tombstones.finish(digest)
        return subject_of(digest)

    def correct(self, user_id: str, event_id: str, changes: Mapping[str, object]) -> dict[str, object]:
        """Change fields of an event, which keeps its id; returns the event as it is now.

        Raises InvalidInput for values that no event may have, Conflict for a deleted event, else as `delete`.
        """
        if unknown := changes.keys() - set(CHANGEABLE):
            raise InvalidInput(f"{min(unknown)} of an event cannot be corrected: give {', '.join(CHANGEABLE)}")
        if not changes:
            raise InvalidInput(f"there is nothing to correct: give {', '.join(CHANGEABLE[:-1])} or {CHANGEABLE[-1]}")
        user, digest = User(user_id), self._digest(event_id)
        with rewriting(self._log.home):
            begun = self._begun(digest, Action.EVENT_CORRECT)
            corrected = self._payload(self._event(user, event_id), changes)
            if not begun:
                self._begin(user, digest, Action.EVENT_CORRECT)
            self._work(user, lambda read: _exchange(read(user), event_id, corrected), event_id)
        self._tombstones.drop(digest)
        shown = dict(zip(EVENTS.names, orjson.loads(corrected), strict=True))
        return shown | {"event_time": from_microseconds(shown["event_time"])}

    def lift(self, event_id: str) -> str:
        """Accept a deleted event again when it is sent; returns its name in the audit. Raises NotFound, Conflict."""
        digest = self._digest(event_id)
        self._tombstones.lift(digest, Action.EVENT_LIFT)
        return subject_of(digest)

    def _digest(self, event_id: str) -> str:
        if not event_id.strip():
            raise InvalidInput("the id of the event is blank: give the event_id that the log has")
        return self._log.forgotten.event_digest(event_id)

    def _begun(self, digest: str, action: Action) -> bool:
        """Whether the same was begun before, and broken off or done; raises Conflict for anything else."""
        known = self._tombstones.get(digest)
        if known is not None and known.kept["action"] != action:
            done = "was deleted: lift that" if known.finished_at else "is being deleted or corrected: run that again"
            raise Conflict(f"{subject_of(digest)} {done} first")
        return known is not None

    def _begin(self, user: User, digest: str, action: Action) -> None:
        subject = subject_of(self._log.forgotten.digest(user.id))
        self._tombstones.lay(digest, {"user": subject, "action": action.value}, action)

    def _event(self, user: User, event_id: str) -> OwnRow:
        """The event as the log has it; raises NotFound."""
        seal(self._log, [user.bucket])
        found = OwnRows.read(self._log, self._log.manifest(), user).events(event_id)
        if not found:
            raise NotFound(f"the log has no event {event_id!r} of this user")
        return found[0]

    def _payload(self, event: OwnRow, changes: Mapping[str, object]) -> str:
        [current] = plain_times(event.row.select(EVENTS.names)).to_pylist()
        time = {"event_time": from_microseconds(current["event_time"]).isoformat()}
        latest = time_ns() // 1000 + round(self._log.settings.max_clock_ahead * 1_000_000)
        try:
            return event_of(current | time | dict(changes), EventIds(), latest).payload
        except UnfitRecord as unfit:
            raise InvalidInput(str(unfit)) from None

    def _work(self, user: User, plan: Plan, event_id: str) -> None:
        def sealed(session: Session) -> bool:
            waiting = select(InboxRow.position).where(InboxRow.bucket == user.bucket, InboxRow.event_id == event_id)
            return session.scalar(waiting) is None

        for _ in range(ATTEMPTS):
            try:
                with self._hold(user.bucket) as epoch:
                    carry_out(self._log, user, plan, sealed)
                    self._repo.withdraw([user.id])
                    self._repo.publish_bucket(user.bucket, 0, epoch, [user.id])
                    return
            except LeaseLost:
                continue  # the lease ended before we did: a shard may have seen the log half-way
        raise Conflict(f"bucket {user.bucket} could not be held long enough {ATTEMPTS} times in a row: do it again")

    @contextmanager
    def _hold(self, bucket: int) -> Iterator[int]:
        """The bucket's epoch, under which for a lease's length nobody else writes to the online store."""
        leases = Leases(self._log.database, f"correction-{secrets.token_hex(6)}")
        self._repo.identity.attest()
        epoch = leases.seize(bucket)
        try:
            FencedWrites(self._repo).raise_fences({bucket: epoch})
            yield epoch
        finally:
            leases.give_back({bucket: epoch})
            self._repo.online.unpin_server(self._repo.config)  # a gateway goes on, and compares the marks no more


def _removal(own: OwnRows, event_id: str) -> Move:
    """The event leaves; the newest of the other rows goes to the end, so that whoever has an older state is outrun."""
    gone = own.events(event_id)
    newest = own.newest_except(gone)
    return Move([*gone, *newest], newest)


def _exchange(own: OwnRows, event_id: str, corrected: str) -> Move:
    """The event leaves, and comes back at the end of the log as it should be."""
    gone = own.events(event_id)
    if not gone:
        raise NotFound(f"the log has no event {event_id!r} of this user any more")
    values = zip(EVENTS, orjson.loads(corrected), strict=True)
    row = pa.table({field.name: pa.array([value], field.type) for field, value in values}, EVENTS)
    return Move(gone, [gone[0].holding(row)])
