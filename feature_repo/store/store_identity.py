"""The identity of the online store: whether it still holds what the registry has noted as online.

Registry and store carry the same mark: the id of the filling, and a beat that moves forward in both, in the registry
first. So a store that was emptied, exchanged or restored from a backup is found behind, and a registry that was
restored is found behind its store.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from feast import RepoConfig
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.tables import BucketRow, LeaseRow, OnlineStoreRow
from portrait.feature_repo.online.online_store import OnlineStore
from portrait.feature_repo.online.store_mark import StoreMark
from portrait.registry.database.database import Database
from portrait.registry.database.tables import Instance
from portrait.registry.errors import RegistryMissing, StoreForeign, Unavailable
from portrait.registry.rows import database_now

DOUBT = 10_000_000
"""Microseconds of writes that a server may lose when it stops: shards do the work of so long anew, see HeldBuckets."""

SAMPLED_USERS = 256


class Match(StrEnum):
    """How store and registry stand to each other."""

    SAME = "same"
    UNMARKED = "unmarked"  # both without a mark: a new instance, or one from before there were marks
    LOST = "lost"  # the store lacks rows: it was emptied, exchanged, or restored from a backup
    AHEAD = "ahead"  # the registry was restored from a backup: the store has rows that the log has not
    FOREIGN = "foreign"  # another registry fills this store


class StoreIdentity:
    """Compares the marks, and notes in the registry what the store has lost."""

    def __init__(
        self,
        log: EventLog,
        online: OnlineStore,
        config: RepoConfig,
        present: Callable[[Sequence[str]], Sequence[bool]],
        drop_forgotten: Callable[[Sequence[str]], object],
    ) -> None:
        """`present` says of each of some users whether a history is online; `drop_forgotten` removes forgotten ones."""
        self._log = log
        self._online = online
        self._config = config
        self._present = present
        self._drop_forgotten = drop_forgotten
        self._server: str | None = None
        self._store: str | None = None

    @property
    def _database(self) -> Database:
        return self._log.database

    @property
    def store(self) -> str:
        """Id of the filling at the last `attest`, which is done now if it never was."""
        if self._store is None:
            self.attest()
        assert self._store is not None
        return self._store

    def attest(self) -> bool:
        """Compare the marks and move the beat forward; a store that has lost rows is marked anew, its buckets as lost.

        From now on only the server, or file, that was compared takes writes of this process. Returns whether it is
        another one than at the last call, so that the last seconds of writes may be lost. Raises StoreForeign when
        another registry fills the store, Unavailable when it is ahead of this one; then nothing is changed.
        """
        server = self._online.pin_server(self._config)
        if self._compare() in (Match.UNMARKED, Match.LOST):
            self._mark_anew()
        with self._database.transaction() as session:
            row = session.get_one(OnlineStoreRow, 1, with_for_update=True)
            row.beat = max(row.beat + 1, _microseconds(session))
            mark = StoreMark(_instance(session), row.store, row.beat)
        self._online.write_mark(self._config, mark)
        changed = self._server is not None and server != self._server
        self._server, self._store = server, mark.store
        return changed

    def problem(self) -> str | None:
        """What is wrong between store and registry, for people; None when they match. Changes nothing.

        Raises StoreForeign when another registry fills the store.
        """
        try:
            match = self._compare()
        except _StoreAhead as error:
            return str(error)
        if match == Match.LOST:
            return f"{self._named()} was emptied, exchanged or restored from a backup: run `portrait publish`"
        return None

    def lost(self) -> frozenset[int]:
        """The buckets whose rows are not all back in the store."""
        with self._database.reading() as session:
            return frozenset(session.scalars(select(BucketRow.bucket).where(BucketRow.lost)))

    def evicts(self) -> bool:
        """Whether rows of single users may have vanished while the mark stayed."""
        return self._online.evicts(self._config)

    def restored(self, buckets: Iterable[int]) -> None:
        """Note that all rows of these buckets are back, vectors too."""
        with self._database.transaction() as session:
            session.execute(update(BucketRow).where(BucketRow.bucket.in_(list(buckets))).values(lost=False))

    def take_over(self, kept: Mapping[str, Sequence[str]]) -> None:
        """Make the store this registry's, whatever fills it: all rows of users go, except those of the `kept` views."""
        try:
            self._compare()
        except (StoreForeign, _StoreAhead):
            pass  # broken off, it is refused as before until it is done again
        else:
            self._mark_anew(whatever=True)  # broken off, the rows are lost, and are put back
        self._online.clear(self._config, kept)
        self._mark_anew(whatever=True)

    def _compare(self) -> Match:
        """How the marks stand to each other; raises StoreForeign or Unavailable where nothing may be written."""
        mark = self._online.read_mark(self._config)  # first: a beat reaches the registry before the store
        with self._database.reading() as session:
            match = _match(mark, session.get(OnlineStoreRow, 1), _instance(session))
            new = not session.scalar(select(BucketRow.bucket).where(_HAS_ROWS).limit(1))
        if match == Match.UNMARKED and new and self._has_histories():
            raise StoreForeign(
                f"{self._named()} holds users whom this registry has never put there: point PORTRAIT_ONLINE_STORE_URL "
                "at a store of its own, or clear this one for good by `portrait publish --take-over`"
            )
        if match == Match.FOREIGN:
            assert mark is not None
            raise StoreForeign(
                f"{self._named()} is filled by another registry (instance {mark.instance}): point "
                "PORTRAIT_ONLINE_STORE_URL at a store of its own, or clear this one for good by `portrait publish "
                "--take-over`"
            )
        if match == Match.AHEAD:
            raise _StoreAhead(
                f"{self._named()} knows rows that the registry does not: the registry was restored from a backup, or "
                "is a copy. If the store is to follow this registry, run `portrait publish --take-over`"
            )
        return match

    def _mark_anew(self, whatever: bool = False) -> None:
        """Begin a new filling: all buckets that had anything online are lost, and every lease is taken anew."""
        if not whatever:
            self._sweep_forgotten()
        whole = not whatever and self._is_whole()
        with self._database.transaction() as session:
            row = session.get(OnlineStoreRow, 1, with_for_update=True)
            mark = self._online.read_mark(self._config)
            if not whatever and _match(mark, row, _instance(session)) not in (Match.UNMARKED, Match.LOST):
                return  # another process was faster
            beat = row.beat if row else 0
            if whatever and mark is not None:
                beat = max(beat, mark.beat)
            if row is None:
                row = OnlineStoreRow(id=1)
                session.add(row)
            row.store, row.beat = uuid.uuid4().hex, beat
            if not whole:
                session.execute(update(BucketRow).where(_HAS_ROWS).values(lost=True))
            session.execute(update(LeaseRow).values(epoch=LeaseRow.epoch + 1, owner=None))
            # Inside the transaction, so that two processes never mark one after the other. Rolled back, the store has a
            # mark that the registry does not know, and is marked anew.
            self._online.write_mark(self._config, StoreMark(_instance(session), row.store, beat))

    def _is_whole(self) -> bool:
        """Whether an unmarked store, of an instance from before there were marks, has what the registry noted."""
        with self._database.reading() as session:
            if session.get(OnlineStoreRow, 1) is not None:
                return False
            if not session.scalar(select(BucketRow.bucket).where(_HAS_ROWS).limit(1)):
                return True
        _, users = self._log.sample_users(SAMPLED_USERS)
        return all(self._present(users))

    def _has_histories(self) -> bool:
        """Whether anybody has a history online: an instance from before there were marks has filled the store."""
        return any(any(self._present(users)) for users in self._online.users(self._config))

    def _sweep_forgotten(self) -> None:
        """A store from a backup may have users who were forgotten since."""
        for users in self._online.users(self._config):
            self._drop_forgotten(users)

    def _named(self) -> str:
        return f"the {self._online.kind} online store"


class _StoreAhead(Unavailable):
    """A store that knows rows which the registry does not: nothing may be written to it."""


_HAS_ROWS = (BucketRow.bucket >= 0) & (BucketRow.published > 0)


def _match(mark: StoreMark | None, row: OnlineStoreRow | None, instance: str) -> Match:
    if mark is None:
        return Match.LOST if row else Match.UNMARKED
    if mark.instance != instance:
        return Match.FOREIGN
    if row is None or mark.beat > row.beat:
        return Match.AHEAD
    if mark.store != row.store or mark.beat < row.beat - DOUBT:
        return Match.LOST
    return Match.SAME


def _instance(session: Session) -> str:
    instance: str | None = session.scalar(select(Instance.id))
    if instance is None:
        raise RegistryMissing("the registry has no instance row: run `portrait apply` first")
    return instance


def _microseconds(session: Session) -> int:
    return int(database_now(session).timestamp() * 1e6)
