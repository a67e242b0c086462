"""One bucket of a training set: its labels beside the vectors that would have been served; here or in a Ray task."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.history.catalogue import catalogue_history
from portrait.feature_repo.ingest.labels import label_file
from portrait.feature_repo.log.durable_files import replacement
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.schemas import TIME
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import read_inputs_at
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.training.backfill.vectors_at_rest import vector_array
from portrait.training.encoding.arrays import Int64
from portrait.training.encoding.encoder import load_encoder
from portrait.training.pinned.encoders_as_of import EncodersAsOf
from portrait.training.settings import TrainingSettings

ROW_GROUP = 16_384


@dataclass(frozen=True)
class Work:
    """The settings of a training set, sent to every worker."""

    settings: TrainingSettings
    version: str
    labels: Path  # folder of a file a bucket
    into: Path  # folder for the same with vectors
    times: Int64  # all as-of times of the set, microseconds


@dataclass(frozen=True)
class BucketDone:
    """Counts of a bucket's rows, or of several buckets'."""

    rows: int
    unknown: int  # of users whom neither log nor users table names, at any time
    priors: int  # with the prior: of those, and of users about whom nothing was known yet


class BucketLabeller:
    """Labels one bucket after the other; lives in this process or as an actor of a Ray Data pool."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._registry = Registry.open(work.settings.database_url)

    @cached_property
    def _repo(self) -> FeatureRepo:
        return FeatureRepo(self._work.settings, self._registry, EventLog(self._registry.database, self._work.settings))

    @cached_property
    def _version(self) -> EmbeddingVersion:
        return self._registry.versions.get(self._work.version)

    @cached_property
    def _encoders(self) -> EncodersAsOf:
        version = self._version
        path = self._work.settings.home / version.artifact
        return EncodersAsOf(
            lambda: load_encoder(path, version.fingerprint), catalogue_history(self._repo.log), self._work.times
        )

    def do(self, *buckets: int) -> BucketDone:
        """Write the labels, `as_of` and `vector` of the buckets to a file that bears the first one's number."""
        files = [label_file(self._work.labels, bucket) for bucket in buckets]
        labels = pa.concat_tables(pq.read_table(file, partitioning=None) for file in files)
        place = labels.schema.get_field_index("as_of")
        labels = labels.set_column(place, pa.field("as_of", TIME), labels["as_of"].cast(TIME))
        asked, row_of = _distinct(labels)
        inputs = read_inputs_at(self._repo, buckets, asked, fields=self._version.team_fields)
        vectors = np.concatenate([self._encoders.encode(users) for users in inputs])
        named = pa.array(self._repo.log.user_ids(*buckets), pa.string())
        unknown = pc.invert(pc.is_in(labels["user_id"], value_set=named))
        priors = (vectors == self._encoders.prior).all(axis=1)[row_of]
        out = label_file(self._work.into, buckets[0])
        with_vectors = _with_vectors(labels, vectors, row_of)
        with replacement(out, durable=False) as scratch:  # a task that is done again must not find half of it
            pq.write_table(with_vectors, scratch, compression="zstd", row_group_size=ROW_GROUP)
        return BucketDone(labels.num_rows, int(pc.sum(unknown).as_py() or 0), int(priors.sum()))

    def close(self) -> None:
        """Give back the connections to the databases."""
        if "_repo" in self.__dict__:
            self._repo.close()
        self._registry.close()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Ray Data's way to call `do`: a batch with a column `bucket`."""
        done = [self.do(int(bucket)) for bucket in batch["bucket"]]
        counts = ("rows", "unknown", "priors")
        return {"bucket": batch["bucket"], **{name: np.array([getattr(one, name) for one in done]) for name in counts}}


def _distinct(labels: pa.Table) -> tuple[pa.Table, Int64]:
    """The distinct (user_id, as_of), and which of them each row has: nobody is encoded twice as of the same time."""
    keys = labels.select(["user_id", "as_of"])
    users = keys["user_id"].combine_chunks().dictionary_encode()
    codes = np.asarray(users.indices, dtype=np.int64)
    times, time_codes = np.unique(keys["as_of"].cast(pa.int64()).to_numpy(), return_inverse=True)
    _, first, row_of = np.unique(codes * len(times) + time_codes, return_index=True, return_inverse=True)
    return keys.take(first), row_of.astype(np.int64)


def _with_vectors(labels: pa.Table, vectors: np.ndarray, row_of: Int64) -> pa.Table:
    column = vector_array(vectors[row_of])
    return labels.append_column(pa.field("vector", column.type), column)
