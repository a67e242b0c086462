"""The inputs of a training run: the users of one snapshot, streamed bucket by bucket, and the catalogue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from portrait.feature_repo.declaration.input_schema import InputSchema
from portrait.feature_repo.history.catalogue import catalogue, items_position
from portrait.feature_repo.history.snapshot_cut import Snapshot
from portrait.feature_repo.schemas import microseconds
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import join_teams, read_inputs_offline
from portrait.registry.progress import Progress

ONBOARDING = "onboarding_items"
CHUNK = 8192  # users at a time; bounds memory


@dataclass(frozen=True)
class TrainingInputs:
    """A snapshot's users with their fields, and the catalogue.

    `tables` may be called several times and yields the same users in the same order, a bucket at a time: the
    columns of `snapshot.read` and the team columns of the schema.
    """

    tables: Callable[[], Iterator[pa.Table]]
    users: int
    as_of: datetime
    snapshot: str  # its id
    data_from: datetime | None  # oldest event of the snapshot
    catalogue: pa.Table  # service, item_id, text, tags, vector_*
    schema: InputSchema
    exclude: tuple[str, ...] = ()  # fields that the model must not see; `onboarding_items` may be one
    items_position: int = 0  # of the catalogue's newest row: the snapshot's id does not depend on items
    team_stamp: tuple[str, ...] = ()  # of the content of the teams' files, on which it does not depend either

    @property
    def visible(self) -> InputSchema:
        """The fields that the model sees; raises InvalidInput when `exclude` names a field that there is not."""
        return self.schema.exclude(self.exclude)

    @property
    def onboarding(self) -> bool:
        """Whether the model sees onboarding picks."""
        return ONBOARDING not in self.exclude

    @property
    def as_of_us(self) -> int:
        """The as-of time in microseconds since 1970."""
        return microseconds(self.as_of)

    def chunks(self, progress: Progress, stage: str) -> Iterator[pa.Table]:
        """The users of `tables`, not too many at a time."""
        done = 0
        for bucket in self.tables():
            for start in range(0, bucket.num_rows, CHUNK):
                yield bucket.slice(start, CHUNK)
            done += bucket.num_rows
            progress(stage, done, self.users)


def inputs_of(
    repo: FeatureRepo, snapshot: Snapshot, exclude: Sequence[str] = (), reads_fields: bool = True
) -> TrainingInputs:
    """All users of the snapshot with the teams' features as they are now, and the catalogue as it is now.

    `reads_fields` is that of the family: views of which a model sees nothing are not joined. Raises InvalidInput, with
    the view and its file, when these cannot be joined, and for a name in `exclude` that is no field.
    """
    position = items_position(repo.log)  # before the catalogue, which then has at least these rows
    schema = repo.input_schema()
    seen = [field.name for field in schema.exclude(exclude).team] if reads_fields else []
    joins = join_teams(repo, snapshot, seen)
    return TrainingInputs(
        tables=lambda: (read_inputs_offline(repo, snapshot, bucket, joins) for bucket in sorted(snapshot.buckets)),
        users=snapshot.users,
        as_of=snapshot.as_of,
        snapshot=snapshot.id,
        data_from=snapshot.data_from,
        catalogue=catalogue(repo.log),
        schema=schema,
        exclude=tuple(exclude),
        items_position=position,
        team_stamp=joins.stamp,
    )
