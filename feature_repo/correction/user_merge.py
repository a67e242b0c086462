"""The merge of two users: what is known of one becomes part of another, and the first is gone like a forgotten one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from portrait.feature_repo.broker.redis_streams import open_broker
from portrait.feature_repo.correction.log_moves import Move, OwnRow, OwnRows, carry_out
from portrait.feature_repo.forgetting.forgetting import Forgetting
from portrait.feature_repo.forgetting.places import StreamEntries, User
from portrait.feature_repo.forgetting.tombstones import ForgettingReport, TombstoneLog, subject_of
from portrait.feature_repo.ingest.event_ids import EventIds, Payload
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.profiles import further_columns, stored_schema
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.schemas import plain_times
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.access.audit import Action
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.progress import Progress
from portrait.registry.registry import Registry


class UserMerge:
    """Merges users of one instance, for the registry's actor.

    `followed` is called with a generation, and returns once every refresh shard has seen it.
    """

    def __init__(self, repo: FeatureRepo, registry: Registry, followed: Callable[[int], object]) -> None:
        self._repo = repo
        self._log = repo.log
        self._tombstones = TombstoneLog(registry.database, registry.audit)
        self._forgetting = Forgetting(repo, registry, followed)

    def merge(self, anonymous: str, known: str, progress: Progress | None = None) -> ForgettingReport:
        """Make events and profile of `anonymous` those of `known`, and forget `anonymous`.

        The rows move within the log in one transaction, after the tombstone of `anonymous` and before anything of it is
        deleted: killed at any point, the merge is finished by the same call. Raises InvalidInput for a blank id or two
        equal ones; Conflict when one of the users was forgotten, `anonymous` was merged into somebody else, or records
        of it still wait in the broker; else as Forgetting.forget.
        """
        one, other = User(anonymous), User(known)
        if one.id == other.id:
            raise InvalidInput(
                f"{known!r} cannot be merged into itself: give the id that ends, then the one that stays"
            )
        into = self._log.forgotten.digest(known)
        self._require_mergeable(one, into)
        report = self._forgetting.forget(
            one.id, progress, lambda: self._move(one, other), Action.USER_MERGE, {"into": subject_of(into)}
        )
        self._repo.publish_bucket(other.bucket)
        return report

    def _require_mergeable(self, one: User, into: str) -> None:
        digest = self._log.forgotten.digest(one.id)
        if self._tombstones.get(into) is not None:
            raise Conflict(f"{subject_of(into)}, who would stay, was forgotten: lift that first")
        before = self._tombstones.get(digest)
        if before is None:
            self._require_nothing_waiting(one)
        elif before.kept.get("into") != subject_of(into):
            done = "merged into another user" if "into" in before.kept else "forgotten"
            raise Conflict(f"{subject_of(digest)} was {done}: there is nothing left to merge")

    def _require_nothing_waiting(self, one: User) -> None:
        if (broker := open_broker(self._repo.settings)) is None:
            return
        try:
            waiting = StreamEntries(broker).count(one)
        finally:
            broker.close()
        if waiting:
            raise Conflict(
                f"{waiting} records of the user who would end still wait in the broker: merge when the refresh has "
                "taken them in"
            )

    def _move(self, one: User, other: User) -> None:
        """Move all rows of one user to the other; those that came before move too, nothing comes any more."""

        def sealed(session: Session) -> bool:
            mine = (InboxRow.bucket == one.bucket) & (InboxRow.user_id == one.id)
            return session.scalar(select(InboxRow.position).where(mine).limit(1)) is None

        def plan(read: Callable[[User], OwnRows]) -> Move:
            mine, theirs = read(one), read(other)
            coming = [*_events(mine, theirs, other.id), *self._profile(mine, theirs, other.id)]
            return Move(mine.rows, coming)

        carry_out(self._log, one, plan, sealed, other)

    def _profile(self, mine: OwnRows, theirs: OwnRows, user_id: str) -> Sequence[OwnRow]:
        """The profile's rows for another user: all of them, or where both have a profile the gaps of theirs filled."""
        rows, others = mine.of(SegmentKind.USERS), theirs.of(SegmentKind.USERS)
        if not rows or not others:
            return [_of_user(row, user_id) for row in rows]
        further = further_columns(self._log.home, self._log.manifest().segments_of(SegmentKind.USERS))
        schema = stored_schema(further)
        kept, given = _fields(others[-1].row, schema), _fields(rows[-1].row, schema)
        filled = {name: given[name] if value is None else value for name, value in kept.items()}
        if filled == kept:
            return []
        later = max(others[-1], rows[-1], key=lambda row: str(row.segment.committed_at))
        return [later.holding(pa.Table.from_pylist([filled], schema))]


def _events(mine: OwnRows, theirs: OwnRows, user_id: str) -> list[OwnRow]:
    """The events for another user, with the ids that they would have there; without those that are there already."""
    known = {row.row["event_id"][0].as_py() for row in theirs.of(SegmentKind.EVENTS)}
    events = mine.of(SegmentKind.EVENTS)
    ids = _new_ids([_payload(row) for row in events], user_id)
    coming = []
    for row in events:
        event_id = row.row["event_id"][0].as_py()
        new = ids.get(event_id, event_id)
        if new not in known:
            known.add(new)
            coming.append(_with(_of_user(row, user_id), "event_id", new))
    return coming


def _new_ids(payloads: Sequence[Payload], user_id: str) -> Mapping[str, str]:
    """The ids that were made of the content of events, and those that are made of it for another user."""
    before, after, ids = EventIds(), EventIds(), {}
    for payload, count in Counter(payloads).items():
        for _ in range(count):
            ids[before.id_for(payload)] = after.id_for((user_id, *payload[1:]))
    return ids


def _payload(row: OwnRow) -> Payload:
    [event] = plain_times(row.row).to_pylist()
    return tuple(event[name] for name in ("user_id", "item_id", "event_time", "service", "action", "weight"))


def _of_user(row: OwnRow, user_id: str) -> OwnRow:
    return _with(row, "user_id", user_id)


def _with(row: OwnRow, column: str, value: str) -> OwnRow:
    place = row.row.schema.get_field_index(column)
    field = row.row.schema.field(place)
    return OwnRow(row.segment, row.row.set_column(place, field, pa.array([value], field.type)))


def _fields(row: pa.Table, schema: pa.Schema) -> dict[str, object]:
    """The values of a profile's row in the types that its columns have now."""
    present = {field.name for field in row.schema}
    return {f.name: row[f.name].cast(f.type)[0].as_py() if f.name in present else None for f in schema}
