"""The promise of one answer: whichever way a consumer's vector is read, it is the same float32, bit for bit."""

import httpx
import numpy as np
from numpy.typing import NDArray

from portrait.infra.portrait import Portrait
from portrait.registry.errors import PortraitError
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.client import Client


class VectorsDiffer(PortraitError):
    """Two ways to read the same vector gave different numbers."""


def same_vector_everywhere(
    portrait: Portrait, url: str, consumer: str, user: str, version: EmbeddingVersion
) -> NDArray[np.float32]:
    """The user's vector, float32 [d], read in four ways; raises VectorsDiffer."""
    portrait.reader.assignments.refresh()
    store = portrait.repo.feast
    service = store.get_feature_service(consumer)
    entity = [{"user_id": user}]
    rows = store.get_online_features(features=service, entity_rows=entity, full_feature_names=True).to_dict()
    answer = httpx.get(f"{url}/v1/consumers/{consumer}/embeddings/{user}").raise_for_status().json()
    with Client(url, consumer=consumer) as client:
        vectors: dict[str, NDArray[np.float32]] = {
            "portrait get": portrait.reader.read(consumer, [user]).parts[0].vectors[0],
            "HTTP": np.asarray(answer["vector"], dtype=np.float32),
            "Client": client.embedding(user).vector,
            "plain Feast": np.asarray(rows["user_embedding__vector"][0], dtype=np.float32),
        }
    stored = vectors["portrait get"]
    for name, vector in vectors.items():
        if vector.tobytes() != stored.tobytes() or answer["fingerprint"] != version.fingerprint:
            raise VectorsDiffer(f"{name} gives another vector for {user!r} at {version.id} than `portrait get`")
    return stored
