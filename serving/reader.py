"""Reading embeddings: stored where there is a vector, computed where something is known, the prior elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.schemas import microseconds
from registry.errors import Conflict, InvalidInput, NotFound, Unavailable
from registry.records import EmbeddingVersion
from serving.assignments import Assignments
from serving.batch import COMPUTED, PRIOR, STORED, Answer, EmbeddingBatch, Source, SplitBatch
from serving.encoders import EncoderCache
from serving.routing import Part, Split
from training.moments import encoding_times


class StoredVectors(Protocol):
    """Columns of stored vectors; rows without one (`found` false) hold anything."""

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which users have a vector, [n]."""
        ...

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[n, dimension]."""
        ...

    @property
    def as_of(self) -> NDArray[np.int64]:
        """[n] microseconds."""
        ...

    @property
    def computed_at(self) -> NDArray[np.int64]:
        """[n] microseconds."""
        ...


class OnlineReads(Protocol):
    """What the reader needs of feature_repo.store.FeatureRepo."""

    def read_vectors(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> StoredVectors:
        """Stored vectors of a version, in the order of the users; raises Unavailable."""
        ...

    def read_inputs(self, user_ids: Sequence[str]) -> pa.Table:
        """History, profile and team features of the users, in their order, blank where nothing is known."""
        ...


class Lookup(NamedTuple):
    """A part of a request after the store has answered."""

    part: Part
    rows: StoredVectors

    @property
    def complete(self) -> bool:
        """Whether every user has a stored vector."""
        return bool(self.rows.found.all())


@dataclass(frozen=True)
class Gap:
    """The users of a part without a stored vector, and what is known about them."""

    missing: NDArray[np.intp]  # their rows
    inputs: pa.Table
    known: NDArray[np.bool_]  # which of them anything is known about


class EmbeddingReader:
    """Reads embeddings for consumers: `portrait get` calls `read`, the gateway its steps.

    The steps are apart because they run in different places: `split` never waits, `lookup` waits
    for the store, `complete` may compute.
    """

    def __init__(self, repo: OnlineReads, assignments: Assignments, encoders: EncoderCache) -> None:
        self.repo = repo
        self.assignments = assignments
        self.encoders = encoders

    def read(self, consumer: str, users: Sequence[str], strict: bool = False) -> Answer:
        """Embeddings of users at the version, or the two versions, that the consumer reads now.

        Raises NotFound for an unknown consumer (and, with `strict`, for users of whom nothing is
        known), Conflict for a consumer without a version, Unavailable when a store does not answer.
        """
        split = self.split(consumer, users)
        found = [self.lookup(part) for part in split.parts]
        return joined(split, self.complete(found, strict))

    def split(self, consumer: str, users: Sequence[str]) -> Split:
        """The users by the version that each reads now."""
        return self.assignments.route(consumer).split(users)

    def lookup(self, part: Part) -> Lookup:
        """One look-up in the online store."""
        return Lookup(part, self.repo.read_vectors(part.version, part.users))

    def stored(self, found: Lookup) -> EmbeddingBatch:
        """The answer when every vector is stored."""
        ages = np.maximum(time.time() - found.rows.computed_at * 1e-6, 0.0)
        sources: list[Source] = [STORED] * len(found.part.users)
        return _batch(found, found.rows.vectors, sources, found.rows.as_of, ages)

    def complete(self, found: Sequence[Lookup], strict: bool = False) -> list[EmbeddingBatch]:
        """The answer of each part, with missing vectors computed at the part's own version, or its prior."""
        gaps = [None if one.complete else self._gap(one) for one in found]
        if strict:
            _require_known(found, gaps)
        return [
            self.stored(one) if gap is None else self._filled(one, gap) for one, gap in zip(found, gaps, strict=True)
        ]

    def _gap(self, found: Lookup) -> Gap:
        missing = np.flatnonzero(~found.rows.found)
        inputs = self.repo.read_inputs([found.part.users[row] for row in missing.tolist()])
        return Gap(missing, inputs, something_known(inputs))

    def _filled(self, found: Lookup, gap: Gap) -> EmbeddingBatch:
        version = found.part.version
        as_of = encoding_times(gap.inputs, microseconds(version.as_of_floor))
        computed, is_prior = self._encode(version, gap.inputs, gap.known, as_of)
        return _merged(found, gap.missing, computed, is_prior, as_of)

    def _encode(
        self, version: EmbeddingVersion, inputs: pa.Table, known: NDArray[np.bool_], as_of: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        try:
            encoder = self.encoders.get(version)
            vectors = np.tile(encoder.prior, (len(known), 1))
            if known.any():
                vectors[known] = encoder.encode(inputs.filter(pa.array(known)), as_of[known])
        except (InvalidInput, NotFound, Conflict, OSError) as error:
            # An artifact that is gone, changed or wants columns that are gone: not the fault of who asks.
            raise Unavailable(f"vectors of {version.id} cannot be computed here: {error}") from error
        # The encoder answers the prior for somebody who signed up and left nothing to go by.
        return vectors, (vectors == encoder.prior).all(axis=1)


def joined(split: Split, batches: Sequence[EmbeddingBatch]) -> Answer:
    """The answers of a request's parts as one."""
    if split.in_canary is None:
        return batches[0]
    stable, canary = batches
    return SplitBatch(stable, canary, split.in_canary)


def something_known(inputs: pa.Table) -> NDArray[np.bool_]:
    """Which rows hold anything about their user: an event, a position in the log, any profile or team column."""
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
) -> EmbeddingBatch:
    version, lane, users = found.part
    return EmbeddingBatch(users, vectors, version.id, version.fingerprint, lane, source, as_of, ages)


def _merged(
    found: Lookup,
    missing: NDArray[np.intp],
    computed: NDArray[np.float32],
    is_prior: NDArray[np.bool_],
    as_of: NDArray[np.int64],
) -> EmbeddingBatch:
    stored = found.rows
    vectors, times = stored.vectors.copy(), stored.as_of.copy()
    vectors[missing], times[missing] = computed, as_of
    ages = np.maximum(time.time() - stored.computed_at * 1e-6, 0.0)
    ages[missing] = 0.0
    sources: list[Source] = [STORED] * len(found.part.users)
    for row, prior in zip(missing.tolist(), is_prior.tolist(), strict=True):
        sources[row] = PRIOR if prior else COMPUTED
    return _batch(found, vectors, sources, times, ages)


def _require_known(found: Sequence[Lookup], gaps: Sequence[Gap | None]) -> None:
    users = [
        one.part.users[row]
        for one, gap in zip(found, gaps, strict=True)
        if gap is not None
        for row in gap.missing[~gap.known].tolist()
    ]
    if users:
        shown = ", ".join(repr(user[:80]) for user in users[:5])
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        raise NotFound(f"nothing is known about {shown}{more}: leave out strict=true to get the prior")
