"""The reader of embeddings: the stored vector, else a computed one, else the prior of the version."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from portrait.feature_repo.schemas import microseconds
from portrait.registry.errors import Conflict, InvalidInput, NotFound, Unavailable
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.reads.embedding_batch import COMPUTED, PRIOR, STORED, Answer, EmbeddingBatch, Source, SplitBatch
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.reads.evicted_users import EvictedUsers
from portrait.serving.reads.lookups import Lookup, OnlineReads
from portrait.serving.state.assignment_poller import Assignments
from portrait.serving.state.routing import RequestPart, RequestSplit
from portrait.serving.state.store_watch import StoreWatch
from portrait.training.encoding.encoding_times import encoding_times


@dataclass(frozen=True)
class Gap:
    """The users of a part whose vectors are to be computed, and the inputs known of them."""

    rows: NDArray[np.intp]  # of the part
    missing: NDArray[np.bool_]  # rows without any stored vector
    inputs: pa.Table
    known: NDArray[np.bool_]  # rows of users about whom anything is known

    def without_downgrades(self) -> "Gap":
        """The gap without users of whom nothing but an old vector is known: the prior would say less than that."""
        kept = self.missing | self.known
        if kept.all():
            return self
        return Gap(self.rows[kept], self.missing[kept], self.inputs.filter(pa.array(kept)), self.known[kept])


class EmbeddingReader:
    """Reads embeddings for consumers: `portrait get` calls `read`, the gateway calls the steps of it.

    The steps are apart because they run in different places: `split` never waits, `lookup` waits
    for the store, `complete` may compute.
    """

    def __init__(
        self,
        repo: OnlineReads,
        assignments: Assignments,
        encoders: EncoderCache,
        watch: StoreWatch | None = None,
        evicted: EvictedUsers | None = None,
    ) -> None:
        self.repo = repo
        self.assignments = assignments
        self.encoders = encoders
        self.watch = watch
        self.evicted = evicted

    def read(self, consumer: str, users: Sequence[str], strict: bool = False) -> Answer:
        """Embeddings of users at the version, or the two versions, that the consumer reads now.

        Raises NotFound for an unknown consumer (and, with `strict`, for users of whom nothing is
        known), Conflict for a consumer without a version, Unavailable when a store does not answer.
        """
        split = self.split(consumer, users)
        found = [self.lookup(part) for part in split.parts]
        return join_batches(split, self.complete(found, strict))

    def split(self, consumer: str, users: Sequence[str]) -> RequestSplit:
        """The users of a request in parts, by the version that each reads now; raises as `read` does."""
        return self.assignments.route(consumer).split(users)

    def lookup(self, part: RequestPart) -> Lookup:
        """The stored vectors of a part, in one query of the online store; raises Unavailable."""
        return Lookup.from_rows(part, self.repo.read_vectors(part.version, part.users))

    def stored(self, found: Lookup) -> EmbeddingBatch:
        """The answer of stored vectors alone; those that are too old or in doubt are flagged as stale."""
        sources: list[Source] = [STORED] * len(found.part.users)
        return self._flagged(_batch(found, found.rows.vectors, sources, found.rows.as_of, _ages(found), _stale(found)))

    @property
    def sound(self) -> bool:
        """Whether the online store has all that it should have; else answers are flagged as stale."""
        return self.watch is None or self.watch.sound

    def _flagged(self, batch: EmbeddingBatch) -> EmbeddingBatch:
        """The batch with users marked as stale whose rows the store may have lost, whatever their source."""
        doubtful = None if self.watch is None else self.watch.doubtful(batch.user_ids)
        return batch if doubtful is None else replace(batch, stale=batch.stale | doubtful)

    def complete(self, found: Sequence[Lookup], strict: bool = False) -> list[EmbeddingBatch]:
        """The answer of each part, with missing vectors computed at the part's own version, or its prior.

        Vectors that are too old are computed anew; where that is impossible they are answered and flagged as stale.
        """
        gaps = [None if one.complete else self._gap(one) for one in found]
        if strict:
            self._require_known(found, gaps)
        return [
            self.stored(one) if gap is None else self._filled(one, gap) for one, gap in zip(found, gaps, strict=True)
        ]

    def _gap(self, found: Lookup) -> Gap | None:
        rows = found.wanting
        missing = ~found.rows.found[rows]
        try:
            inputs = self.repo.read_inputs([found.part.users[row] for row in rows.tolist()])
        except Unavailable:
            if found.all_stored:
                return None
            raise
        gap = Gap(rows, missing, inputs, something_known(inputs)).without_downgrades()
        return gap if len(gap.rows) else None

    def _filled(self, found: Lookup, gap: Gap) -> EmbeddingBatch:
        version = found.part.version
        as_of = encoding_times(gap.inputs, microseconds(version.as_of_floor))
        try:
            computed, is_prior = self._encode(version, gap.inputs, gap.known, as_of)
        except Unavailable:
            if found.all_stored:
                return self.stored(found)
            raise
        batch = _merge_computed(found, gap.rows, computed, is_prior, as_of)
        unheard = gap.rows[gap.missing & ~gap.known]
        batch.stale[unheard] |= self._doubt_evicted([found.part.users[row] for row in unheard.tolist()])
        return self._flagged(batch)

    def _doubt_evicted(self, users: Sequence[str]) -> NDArray[np.bool_]:
        """Bool [n]: users without any row whom the store's server may have evicted."""
        if not users or self.evicted is None or self.watch is None or not self.watch.evicts:
            return np.zeros(len(users), np.bool_)
        return self.evicted.doubtful(users)

    def _require_known(self, found: Sequence[Lookup], gaps: Sequence[Gap | None]) -> None:
        """Raise NotFound for users of whom nothing is known, Unavailable where they may have been evicted."""
        users = [
            one.part.users[row]
            for one, gap in zip(found, gaps, strict=True)
            if gap is not None
            for row in gap.rows[gap.missing & ~gap.known].tolist()
        ]
        if not users:
            return
        if (doubtful := self._doubt_evicted(users)).any():
            user = users[int(doubtful.argmax())]
            raise Unavailable(f"the online store may have evicted {user[:80]!r}, the log is being asked: try again")
        shown = ", ".join(repr(user[:80]) for user in users[:5])
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        raise NotFound(f"nothing is known about {shown}{more}: leave out strict=true to get the prior")

    def _encode(
        self, version: EmbeddingVersion, inputs: pa.Table, known: NDArray[np.bool_], as_of: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        try:
            encoder = self.encoders.get(version)
            vectors = np.tile(encoder.prior, (len(known), 1))
            if known.any():
                vectors[known] = encoder.encode(inputs.filter(pa.array(known)), as_of[known])
        except (InvalidInput, NotFound, Conflict, OSError) as error:
            # The artifact is gone or changed, or needs columns that are gone: not the fault of the request.
            raise Unavailable(f"vectors of {version.id} cannot be computed here: {error}") from error
        # The encoder also gives the prior to a user who signed up and did nothing else.
        return vectors, (vectors == encoder.prior).all(axis=1)


def join_batches(split: RequestSplit, batches: Sequence[EmbeddingBatch]) -> Answer:
    """The answers of a request's parts as one."""
    if split.in_canary is None:
        return batches[0]
    stable, canary = batches
    return SplitBatch(stable, canary, split.in_canary)


def something_known(inputs: pa.Table) -> NDArray[np.bool_]:
    """The rows with anything about their user: an event, a position in the log, any profile or team column, [n]."""
    known = np.zeros(inputs.num_rows, bool)
    for name in inputs.column_names:
        if name != "user_id":
            known |= _says_something(name, inputs.column(name))
    return known


def _says_something(name: str, column: pa.ChunkedArray) -> NDArray[np.bool_]:
    if name == "position":
        present = pc.greater(column, 0)
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        present = pc.greater(pc.list_value_length(column), 0)
    elif pa.types.is_null(column.type):
        return np.zeros(len(column), bool)
    else:
        present = pc.is_valid(column)
    mask: NDArray[np.bool_] = pc.fill_null(present, False).to_numpy().astype(bool)
    return mask


def _batch(
    found: Lookup,
    vectors: NDArray[np.float32],
    source: Sequence[Source],
    as_of: NDArray[np.int64],
    ages: NDArray[np.float64],
    stale: NDArray[np.bool_],
) -> EmbeddingBatch:
    part = found.part
    version = part.version
    return EmbeddingBatch(part.users, vectors, version.id, version.fingerprint, part.lane, source, as_of, ages, stale)


def _merge_computed(
    found: Lookup,
    rows: NDArray[np.intp],
    computed: NDArray[np.float32],
    is_prior: NDArray[np.bool_],
    as_of: NDArray[np.int64],
) -> EmbeddingBatch:
    vectors, times = found.rows.vectors.copy(), found.rows.as_of.copy()
    vectors[rows], times[rows] = computed, as_of
    ages, stale = _ages(found), _stale(found).copy()
    ages[rows], stale[rows] = 0.0, False
    sources: list[Source] = [STORED] * len(found.part.users)
    for row, prior in zip(rows.tolist(), is_prior.tolist(), strict=True):
        sources[row] = PRIOR if prior else COMPUTED
    return _batch(found, vectors, sources, times, ages, stale)


def _ages(found: Lookup) -> NDArray[np.float64]:
    """Seconds since each stored vector was computed, [n]."""
    ages: NDArray[np.float64] = np.maximum(time.time() - found.rows.computed_at * 1e-6, 0.0)
    return ages


def _stale(found: Lookup) -> NDArray[np.bool_]:
    """The stored vectors that are older than the consumer allows, [n]."""
    return np.zeros(len(found.part.users), np.bool_) if found.expired is None else found.expired
