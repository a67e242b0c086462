"""What a training run reads: one snapshot, streamed bucket by bucket."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from feature_repo.input_schema import InputSchema

ONBOARDING = "onboarding_items"
EPOCH_START = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


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
        since = self.as_of - EPOCH_START
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
