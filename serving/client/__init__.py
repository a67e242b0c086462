"""The Python client: `Client("http://127.0.0.1:8000", consumer="homepage_ranker").embedding("user-1").vector`.

Imports httpx and numpy only; batches travel as Arrow where pyarrow is installed and as JSON elsewhere,
with the same float32 values bit for bit.
"""

from portrait.serving.client.answers import Embedding, Embeddings
from portrait.serving.client.errors import (
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    MixedVersions,
    NotFound,
    ServerError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from portrait.serving.client.http import AsyncClient, Client
from portrait.serving.client.sending import Receipt, Rejection

__all__ = [
    "AsyncClient",
    "BadRequest",
    "Client",
    "ClientError",
    "Conflict",
    "Embedding",
    "Embeddings",
    "Forbidden",
    "MixedVersions",
    "NotFound",
    "Receipt",
    "Rejection",
    "ServerError",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
]
