"""The reader over an online store that is only measured: it asks no registry and computes nothing."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from portrait.feature_repo.declaration.views import view_name
from portrait.feature_repo.online.codec import VectorRow, VectorRows
from portrait.feature_repo.store.measured_instance import MeasuredInstance
from portrait.registry.errors import Unavailable
from portrait.registry.records.records import Assignment, Consumer, EmbeddingVersion
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.reads.answers import JSON, single_response
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.reads.reader import EmbeddingReader
from portrait.serving.state.assignment_poller import Assignments

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MeasuredReader:
    """A reader for consumers that all read one version, whose vectors are all stored."""

    def __init__(self, instance: MeasuredInstance, version: EmbeddingVersion, consumers: Sequence[str]) -> None:
        assignments = Assignments(_FixedState(version, consumers))
        assignments.refresh()
        self._reader = EmbeddingReader(_StoredOnly(instance), assignments, EncoderCache(_no_encoder))

    def read(self, consumer: str, user: str) -> object:
        """Read as `portrait get CONSUMER USER` does; raises Unavailable for a user without a stored vector."""
        return self._reader.read(consumer, [user])

    def nbytes(self, consumer: str, user: str) -> int:
        """The size of the gateway's JSON answer in bytes."""
        return len(single_response(self._reader.read(consumer, [user]), JSON).body)


class _FixedState:
    """A `StateSource` that never changes."""

    def __init__(self, version: EmbeddingVersion, consumers: Sequence[str]) -> None:
        self._state = ServingState(
            generation=1,
            assignments={name: Assignment(name, version.id, None, None, 1, EPOCH) for name in consumers},
            versions={version.id: version},
            consumers={name: Consumer(name, "", "", EPOCH) for name in consumers},
        )

    def generation(self) -> int:
        return self._state.generation

    def read(self) -> ServingState:
        return self._state

    def report(self, generation: int, facts: Mapping[str, Any]) -> None:
        pass

    def leave(self) -> None:
        pass


class _StoredOnly:
    """The reader's look-ups, straight in an online store."""

    def __init__(self, instance: MeasuredInstance) -> None:
        self._online, self._config = instance.online, instance.config

    def read_vectors(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> VectorRows:
        return self._online.read_vectors(self._config, view_name(version.id), user_ids, version.dimension)

    def read_vector(self, version: EmbeddingVersion, user_id: str) -> VectorRow | None:
        return self._online.read_vector(self._config, view_name(version.id), user_id, version.dimension)

    def read_inputs(self, user_ids: Sequence[str]) -> pa.Table:
        raise Unavailable(f"no vector is stored for {', '.join(user_ids[:5])}: what is measured must be filled first")


def _no_encoder(version: EmbeddingVersion) -> Any:
    raise Unavailable(f"vectors of {version.id} are only read here, not computed")
