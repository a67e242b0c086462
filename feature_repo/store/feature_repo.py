"""The one seam to Feast: the floors above declare, write and read through `FeatureRepo`."""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureStore, FeatureView, RepoConfig
from feast.errors import FeastObjectNotFoundException

from portrait.feature_repo.declaration.apply import apply_lock, synchronise
from portrait.feature_repo.declaration.apply_guard import forget_tables_elsewhere
from portrait.feature_repo.declaration.environment import feast_config
from portrait.feature_repo.declaration.input_schema import InputSchema, profile_fields
from portrait.feature_repo.declaration.source_files import prepare_source_files, write_catalogue
from portrait.feature_repo.declaration.team_sources import TeamSource, select_sources
from portrait.feature_repo.declaration.team_views import TeamFeature, applied_team_views, team_features
from portrait.feature_repo.declaration.views import HISTORY_VIEW, PROFILE_VIEW, view_name
from portrait.feature_repo.history.publish import PublishableRows, portions_of, publishable_rows
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import mark_published
from portrait.feature_repo.log.partition import BUCKETS
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.online.codec import Integers, VectorRow, VectorRows, Vectors, user_keys
from portrait.feature_repo.online.inputs import InputColumns, read_history_ends, read_inputs, rows_of_table
from portrait.feature_repo.online.online_store import OnlineStore, open_online_store
from portrait.feature_repo.online.rows import POSITION, VECTOR, Fence
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.store_identity import StoreIdentity
from portrait.registry.database.tables import GONE_STATES, VersionState
from portrait.registry.errors import Conflict, FingerprintMismatch, InvalidInput, Unavailable
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, record_projected

PUBLISHED_ROWS = 500_000
"""Rows of the log that are folded at once for publishing, unless a bucket has more."""

WITH_VECTORS = (VersionState.BACKFILLING, VersionState.READY)
COLUMNS_SECONDS = 10.0  # equal to the time of Feast's own cache of its registry


class FeatureRepo:
    """Feast as Portrait uses it: declarations, raw features and vectors of one instance.

    Reading and writing online values needs no FeatureStore and is safe from many threads.
    """

    def __init__(self, settings: FeatureSettings, registry: Registry, log: EventLog) -> None:
        self.settings = settings
        self.registry = registry
        self.log = log
        self._checked: set[tuple[str, str]] = set()
        self._columns: tuple[float, InputColumns] | None = None

    @cached_property
    def config(self) -> RepoConfig:
        return feast_config(self.settings)

    @cached_property
    def feast(self) -> FeatureStore:
        forget_tables_elsewhere(self.config)
        return FeatureStore(config=self.config)

    @cached_property
    def online(self) -> OnlineStore:
        """The online store, which works without Feast's registry."""
        return open_online_store(self.config)

    @cached_property
    def identity(self) -> StoreIdentity:
        """What tells whether the online store still holds what the registry has noted as online."""
        return StoreIdentity(self.log, self.online, self.config, self._have_histories, self.drop_forgotten)

    def take_over(self) -> None:
        """Make the online store this registry's, whatever fills it; only the rows of teams' own views stay."""
        self.identity.take_over(self._features_of_teams())

    def close(self) -> None:
        """Give back the connections to Feast's registry."""
        if "feast" in self.__dict__:
            self.feast.registry.write_engine.dispose()
            del self.feast

    def apply(self) -> list[str]:
        """Bring Feast to the state that registry, columns and teams' files declare; returns a line for each change.

        Right after it `feast plan` and `feast apply` have nothing to do, and the registry knows which of its
        generations Feast shows. Killed at any point, it is finished by the next one. Raises RegistryUnusable, with
        nothing changed, when the registry is missing, behind, another instance's, or would lose an embedding view.
        """
        database = self.registry.database
        database.require_current()
        with apply_lock(self.settings, database):
            generation = read_generation(database)  # first: later changes may be shown or not
            prepare_source_files(self.settings.home, profile_schema(self.log), self.registry.versions.list())
            write_catalogue(self.log)
            self._empty_retiring_views()
            changes = synchronise(self.feast, self.settings)
            self.online.make_places(self.config, self.feast.list_feature_views())
            record_projected(database, generation)
        self._checked.clear()
        self._columns = None
        return changes

    def publish(self, progress: Progress | None = None) -> int:
        """Put histories and profiles of all users with new rows into the online store; returns the number of users.

        In buckets whose rows the store has lost, those of all users. Safe to interrupt and to run twice at once: a row
        is replaced by a newer one only. Raises StoreForeign, or Unavailable when the store is ahead of the registry.
        """
        self.identity.attest()
        write_catalogue(self.log)
        done, report, lost = 0, progress or silent, self.identity.lost()
        reached = 0
        for portion in portions_of(self.log.manifest(), range(BUCKETS), PUBLISHED_ROWS):
            done += len(self._publish(portion, {bucket: 0 for bucket in portion if bucket in lost})[0])
            reached += len(portion)
            report("publish", reached, BUCKETS)
        if lost and not self.registry.versions.list(WITH_VECTORS):  # else vectors have to follow
            self.identity.restored(lost)
        return done

    def publish_bucket(
        self, bucket: int, beyond: int | None = None, epoch: int | None = None, only: Sequence[str] | None = None
    ) -> tuple[list[str], int]:
        """`publish` for one bucket: its users with new rows, and the position up to which they are online.

        New rows lie beyond a position, by default beyond the published one; `only` limits the users, and then no
        position is noted. A shard gives its epoch, under which it writes; raises LeaseLost when another shard holds the
        bucket.
        """
        fence = None if epoch is None else Fence(bucket, epoch)
        users, up_to = self._publish([bucket], {} if beyond is None else {bucket: beyond}, fence, only)
        return users, up_to[bucket]

    def _publish(
        self,
        buckets: Sequence[int],
        beyond: Mapping[int, int],
        fence: Fence | None = None,
        only: Sequence[str] | None = None,
    ) -> tuple[list[str], dict[int, int]]:
        new = self._publishable_rows(buckets, beyond, only)
        users: list[str] = new.histories["user_id"].to_pylist()
        if users:
            # Histories last: a reader of a position has the profile that belongs to it, or a newer one.
            for view, table in ((PROFILE_VIEW, new.profiles), (HISTORY_VIEW, new.histories)):
                self.online.write_rows(self.config, view, (row._replace(fence=fence) for row in rows_of_table(table)))
            self.drop_forgotten(users)
            if only is None:
                mark_published(self.log.database, new.up_to)
        return users, new.up_to

    def profile_schema(self) -> pa.Schema:
        """Schema of the profile columns of `read_inputs`."""
        return self._input_columns().profile

    def write_vectors(
        self,
        version: EmbeddingVersion,
        user_ids: Sequence[str],
        vectors: Vectors,
        position: Integers,
        as_of: Integers,
        computed_at: int,
    ) -> int:
        """Write vectors float32 [n, d] of a version where they are newer than the stored ones; returns how many won.

        `position` int64 [n]; `as_of` int64 [n] and `computed_at` in microseconds. Raises FingerprintMismatch when the
        version's view holds another space, InvalidInput for another dimension or numbers that are not finite, Conflict
        for a version that is retiring or retired; then none of these vectors stays. Vectors of forgotten users do not
        stay either.
        """
        self._require_kept(version)
        self.require_writable(version, user_ids, vectors)
        view = view_name(version.id)
        won = self.online.write_vectors(self.config, view, user_ids, vectors, position, as_of, computed_at)
        try:
            self._require_kept(version)
        except Conflict:  # retiring began meanwhile, and may have deleted the vectors before these came
            self.delete_vectors(version)
            raise
        self.drop_forgotten(user_ids)
        return won

    def require_writable(self, version: EmbeddingVersion, user_ids: Sequence[str], vectors: Vectors) -> None:
        """Raise FingerprintMismatch or InvalidInput for vectors that do not belong in a version's view."""
        self._require_same_space(version)
        if vectors.dtype != np.float32 or vectors.shape != (len(user_ids), version.dimension):
            raise InvalidInput(
                f"{len(user_ids)} vectors of version {version.id} are float32 of {version.dimension} numbers each, "
                f"not {vectors.dtype} of shape {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise InvalidInput(f"the vector of user {user_ids[row]!r} at version {version.id} has numbers not finite")

    def drop_forgotten(self, user_ids: Sequence[str]) -> set[str]:
        """Remove users who are forgotten from the online store; to be called after every write. Returns these users.

        After the write and not before: a forgetting deletes the rows that are there, and rows that come later are found
        here.
        """
        forgotten = self.log.forgotten_among(user_ids)
        if forgotten:
            self.online.delete_users(self.config, sorted(forgotten))
        return forgotten

    def withdraw(self, user_ids: Sequence[str]) -> None:
        """Remove users' histories, profiles and vectors from the online store; rows of teams' own views stay."""
        self.online.delete_users(self.config, user_ids, self._features_of_teams())

    def read_vectors(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> VectorRows:
        """The stored vectors of users at a version, in this order. Raises Unavailable."""
        return self.online.read_vectors(self.config, view_name(version.id), user_ids, version.dimension)

    def read_vector(self, version: EmbeddingVersion, user_id: str) -> VectorRow | None:
        """The stored vector of one user at a version, None without one; cheaper than `read_vectors`."""
        return self.online.read_vector(self.config, view_name(version.id), user_id, version.dimension)

    async def read_vector_async(self, version: EmbeddingVersion, user_id: str) -> VectorRow | None:
        """`read_vector` without blocking the event loop; on SQLite in a thread."""
        return await self.online.read_vector_async(self.config, view_name(version.id), user_id, version.dimension)

    async def read_vectors_async(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> VectorRows:
        """`read_vectors` without blocking the event loop; on SQLite in a thread."""
        return await self.online.read_vectors_async(self.config, view_name(version.id), user_ids, version.dimension)

    def count_vectors(self, version: EmbeddingVersion) -> int:
        """Number of users with a stored vector at a version; on Redis a walk over all keys."""
        return self.online.count_rows(self.config, view_name(version.id))

    def delete_vectors(self, version: EmbeddingVersion, progress: Progress | None = None) -> int:
        """Delete the stored vectors of a version that is being retired; returns how many there were.

        Works in short steps, so that reads and writes of other versions are not held up. Killed in the middle and
        called again, it goes on; needs no view. Raises Conflict when the version is not retiring or retired.
        """
        state = self.registry.versions.get(version.id).state
        if state not in GONE_STATES:
            raise Conflict(f"version {version.id} is {state}: only `portrait retire {version.id}` deletes its vectors")
        view, deleted = view_name(version.id), 0
        total = self.count_vectors(version) if progress and self.has_view(version) else 0
        for rows in self.online.delete_rows(self.config, view, (VECTOR, POSITION)):
            deleted += rows
            if progress:
                progress(f"deleting {version.id}", deleted, max(total, deleted))
        return deleted

    def has_view(self, version: EmbeddingVersion) -> bool:
        """Whether the online store has a place for a version's vectors; without one there are none."""
        return self.online.has_view(self.config, view_name(version.id))

    def read_history_ends(self, user_ids: Sequence[str]) -> tuple[Integers, Integers]:
        """Position of each user's online history, and time of its newest event (microseconds), int64 [n] each.

        A user without a history has position 0, one without events the time 0.
        """
        return read_history_ends(self.online, self.config, user_ids)

    def read_inputs(self, user_ids: Sequence[str]) -> pa.Table:
        """The inputs of a model for these users, from the online store: the columns of `Snapshot.read` and the teams'.

        One row for each user in this order; a user without a row has empty lists, position 0 and nulls.
        """
        return read_inputs(self.online, self.config, self._input_columns(), user_ids)

    def team_views(self) -> list[TeamFeature]:
        """The features that teams have joined to `representation_inputs`, as last applied."""
        return [feature for view in self._team_views() for feature in team_features(view)]

    def _features_of_teams(self) -> dict[str, list[str]]:
        """The features of each view of teams."""
        teams: dict[str, list[str]] = {}
        for feature in self.team_views():
            teams.setdefault(feature.view, []).append(feature.feature)
        return teams

    def team_sources(self, fields: Collection[str] | None = None) -> list[TeamSource]:
        """The teams' views that have some of these fields `<view>__<feature>`; all views by default."""
        return select_sources(self._team_views(), fields, self.settings.feature_repo)

    def join_team(self, source: TeamSource, user_ids: Sequence[str], as_of: datetime | Integers) -> pa.Table:
        """`user_id` and a view's features `<view>__<feature>` of these users, from rows before `as_of`.

        One time for all, or one each in microseconds, int64 [n]; then a user may be asked for several times. Raises
        InvalidInput, with the view and its file, when these cannot be joined.
        """
        if not len(user_ids):
            return source.schema.empty_table()
        # Feast joins rows up to and including the time; ours are windows that end before it.
        times = pd.Timestamp(as_of).as_unit("us") if isinstance(as_of, datetime) else _utc(as_of)
        moment = times - pd.Timedelta(1, "us")
        asked = pd.DataFrame({"user_id": list(user_ids), "event_timestamp": moment, "row": np.arange(len(user_ids))})
        features = [f"{source.name}:{one.feature}" for one in source.features]
        with source.named_errors():
            job = self.feast.get_historical_features(asked, features, full_feature_names=True)
            return source.cast(job.to_arrow().sort_by("row"))

    def input_schema(self) -> InputSchema:
        """The schema of the inputs, beside the history, of a model trained now."""
        return InputSchema(
            history_length=self.settings.history_length,
            profile=profile_fields(profile_schema(self.log)),
            team=tuple(feature.field for feature in self.team_views()),
        )

    def _publishable_rows(
        self, buckets: Sequence[int], beyond: Mapping[int, int], only: Sequence[str] | None
    ) -> PublishableRows:
        return publishable_rows(self.log, buckets, beyond, only)

    def _have_histories(self, user_ids: Sequence[str]) -> list[bool]:
        try:
            rows = self.online.read_rows(self.config, HISTORY_VIEW, user_keys(user_ids), ["event_ids"])
        except Unavailable:
            if self.online.has_view(self.config, HISTORY_VIEW):
                raise
            return [False] * len(user_ids)
        return [row is not None for row in rows]

    def _empty_retiring_views(self) -> None:
        """Delete what Feast would otherwise drop in one long step; Redis has no tables, only steps."""
        if self.online.has_tables:
            for version in self.registry.versions.list([VersionState.RETIRING]):
                self.delete_vectors(version)

    def _require_kept(self, version: EmbeddingVersion) -> None:
        state = self.registry.versions.get(version.id).state
        if state in GONE_STATES:
            raise Conflict(f"version {version.id} is {state}: nothing is written to it any more")

    def _require_same_space(self, version: EmbeddingVersion) -> None:
        if (version.id, version.fingerprint) in self._checked:
            return
        stored = self._view(view_name(version.id)).tags.get("fingerprint")
        if stored != version.fingerprint:
            raise FingerprintMismatch(
                f"the view of {version.id} holds vectors of {stored}, these are of {version.fingerprint}: "
                "they belong to another registry or another run"
            )
        self._checked.add((version.id, version.fingerprint))

    def _input_columns(self) -> InputColumns:
        now = time.monotonic()
        if self._columns is None or now - self._columns[0] > COLUMNS_SECONDS:
            self._columns = now, InputColumns.from_views(self._view(PROFILE_VIEW), self._team_views())
        return self._columns[1]

    def _team_views(self) -> list[FeatureView]:
        try:
            return applied_team_views(self.feast.registry, self.config.project)
        except FeastObjectNotFoundException as error:
            raise Unavailable(f"Feast does not know the inputs of models ({error}): run `portrait apply`") from error

    def _view(self, name: str) -> FeatureView:
        registry, project = self.feast.registry, self.config.project
        try:
            return registry.get_feature_view(name, project, allow_cache=True)
        except FeastObjectNotFoundException:
            self.feast.refresh_registry()  # another process may have applied it since
        try:
            return registry.get_feature_view(name, project, allow_cache=True)
        except FeastObjectNotFoundException as error:
            raise Unavailable(f"Feast does not know the view {name}: run `portrait apply`") from error


def _utc(times: Integers) -> pd.DatetimeIndex:
    return pd.to_datetime(times, unit="us", utc=True).as_unit("us")
