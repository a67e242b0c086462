"""Forgetting a user: a tombstone first, then one place after the other, then the bytes that databases keep."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from sqlalchemy.exc import DBAPIError

from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.broker.redis_streams import open_broker
from portrait.feature_repo.forgetting.places import (
    InboxRows,
    Leftovers,
    OnlineRows,
    Place,
    RejectsFiles,
    SnapshotFiles,
    StreamEntries,
    User,
    UserFiles,
)
from portrait.feature_repo.forgetting.prepared_data import PreparedData
from portrait.feature_repo.forgetting.segments import Segments
from portrait.feature_repo.forgetting.tombstones import (
    ON_POSTGRES,
    OUT_OF_REACH,
    ForgettingReport,
    TombstoneLog,
    findings_to_json,
    subject_of,
    trained_versions,
)
from portrait.feature_repo.forgetting.trained import versions_trained_with
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.rewriting import Rewriter, rewriting
from portrait.feature_repo.log.staging import living_folders
from portrait.feature_repo.log.tables import InboxRow, RefreshRequestRow
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.access.audit import Action
from portrait.registry.database.compaction import compact
from portrait.registry.database.database import Database
from portrait.registry.errors import Unavailable
from portrait.registry.progress import Progress, silent
from portrait.registry.registry import Registry

STEP = "forgetting"
NOTHING: Mapping[str, object] = MappingProxyType({})


class Forgetting:
    """Forgets users of one instance, for the registry's actor.

    `followed` is called with the generation of the tombstone, and returns once every refresh shard has seen it.
    """

    def __init__(self, repo: FeatureRepo, registry: Registry, followed: Callable[[int], object]) -> None:
        self._repo = repo
        self._log = repo.log
        self._registry = registry
        self._tombstones = TombstoneLog(registry.database, registry.audit)
        self._followed = followed

    def forget(
        self,
        user_id: str,
        progress: Progress | None = None,
        before: Callable[[], object] = lambda: None,
        action: Action = Action.USER_FORGET,
        detail: Mapping[str, object] = NOTHING,
    ) -> ForgettingReport:
        """Delete everything of a user that Portrait can reach, and accept nothing more until the tombstone is lifted.

        `before` is called when nothing of the user is accepted any more, and nothing is deleted yet; `detail` is kept
        with the tombstone, and `action` in the audit. Killed at any point, it is finished by the same call; the user's
        id is stored nowhere. For an unknown user nothing is found, and the tombstone is laid all the same. Raises
        InvalidInput for a blank id, Conflict while another user is being forgotten in this home, or when shards do not
        follow.
        """
        user, report = User(user_id), progress or silent
        digest = self._log.forgotten.digest(user_id)
        with rewriting(self._log.home) as rewriter, self._broker() as broker:
            places = self._places(rewriter, broker)
            if self._tombstones.get(digest) is None:
                kept = {**self._found(user, places, report), **detail}
                generation = self._tombstones.lay(digest, kept, action)
            else:
                generation = self._tombstones.lay(digest, {})
            self._followed(generation)
            before()
            for done, place in enumerate(places):
                report(STEP, done, len(places) + 1, place.name)
                place.delete(user)
            report(STEP, len(places), len(places) + 1, "free space")
            left = self._purge(broker)
            under_way = len(living_folders(self._log.home)) - 1 + PreparedData(self._log).in_use()  # without ours
        tombstone = self._tombstones.finish(digest)
        report(STEP, len(places) + 1, len(places) + 1, "")
        assert tombstone.finished_at is not None
        return ForgettingReport(
            subject=subject_of(digest),
            asked_at=tombstone.asked_at,
            finished_at=tombstone.finished_at,
            found=dict(tombstone.kept["found"]),
            trained=trained_versions(tombstone.kept),
            under_way=under_way,
            not_purged=tuple(left),
            out_of_reach=OUT_OF_REACH if self._log.database.is_sqlite else (*OUT_OF_REACH, ON_POSTGRES),
        )

    def lift(self, user_id: str) -> str:
        """Accept data of the user again; returns the name that the audit has for the user.

        Raises NotFound for a user who is not forgotten, Conflict for one who is still being forgotten.
        """
        digest = self._log.forgotten.digest(User(user_id).id)
        self._tombstones.lift(digest)
        return subject_of(digest)

    def _found(self, user: User, places: Sequence[Place], progress: Progress) -> dict[str, object]:
        """What there is of the user before anything is deleted; kept for the report of the call that finishes."""
        found = {}
        for done, place in enumerate(places):
            progress("looking", done, len(places), place.name)
            found[place.name] = place.count(user)
        progress("looking", len(places), len(places), "")
        return findings_to_json(found, versions_trained_with(self._registry, self._log, user))

    @contextmanager
    def _broker(self) -> Iterator[Broker | None]:
        broker = open_broker(self._repo.settings)
        try:
            yield broker
        finally:
            if broker is not None:
                broker.close()

    def _places(self, rewriter: Rewriter, broker: Broker | None) -> list[Place]:
        """The places in the order of the data flow: nothing can come back to a place that has been emptied."""
        home, prepared = self._log.home, PreparedData(self._log)
        return [
            *([] if broker is None else [StreamEntries(broker)]),
            InboxRows(self._log.database),
            *([prepared] if prepared.exists() else []),  # before the log, which says whether the user is in it
            Segments(self._log, SegmentKind.EVENTS, "events"),
            Segments(self._log, SegmentKind.USERS, "profiles"),
            Leftovers(self._log),
            RejectsFiles(home, rewriter),
            UserFiles(home, rewriter, "labels", "labels/**/*.parquet"),
            SnapshotFiles(home, rewriter),
            UserFiles(home, rewriter, "vectors at rest", "embeddings/*/*/{bucket}"),
            OnlineRows(self._repo),
        ]

    def _purge(self, broker: Broker | None) -> list[str]:
        """Have all stores of deleted rows rewrite their files; returns a sentence for each that could not."""
        database, repo = self._log.database, self._repo
        own = compact(Path(database.url.database or "")) if database.is_sqlite else _vacuum_tables(database)
        streams = [] if broker is None else broker.purge()
        return [*own, *streams, *repo.online.purge(repo.config), *_move_mark(repo)]


LOCK_SECONDS = 10
"""How long a vacuum of Postgres waits for another one of the same table."""


def _move_mark(repo: FeatureRepo) -> list[str]:
    """Move the store's mark: put back from an earlier backup, the store is seen to have users who are forgotten."""
    try:
        repo.identity.attest()
    except Unavailable as error:
        return [str(error)]
    finally:  # a gateway goes on after it, and nobody there would compare the marks again
        repo.online.unpin_server(repo.config)
    return []


def _vacuum_tables(database: Database) -> list[str]:
    left = []
    with database.connecting() as connection:
        plain = connection.execution_options(isolation_level="AUTOCOMMIT")
        plain.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        for table in (InboxRow.__tablename__, RefreshRequestRow.__tablename__):
            try:
                plain.exec_driver_sql(f"VACUUM {table}")
            except DBAPIError as error:
                left.append(f"table {table} could not be vacuumed ({type(error.orig).__name__}): run VACUUM {table}")
        plain.exec_driver_sql("RESET lock_timeout")
    return left
