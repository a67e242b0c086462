"""The reader for an event loop: it never blocks the loop, and bounds what is computed."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from portrait.registry.errors import Unavailable
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.reads.embedding_batch import COMPUTED, Answer, EmbeddingBatch, StoredEmbedding
from portrait.serving.reads.lookups import Lookup
from portrait.serving.reads.reader import EmbeddingReader, join_batches
from portrait.serving.state.routing import STABLE, RequestPart

if TYPE_CHECKING:  # Feast takes seconds to import
    from portrait.feature_repo.online.codec import VectorRow
    from portrait.feature_repo.store.feature_repo import FeatureRepo

log = logging.getLogger(__name__)

PROBE = "\x00probe"
"""A user id that nobody has: reading it takes all steps down to the prior."""

Done = TypeVar("Done")
Wanted = Callable[[Sequence[str]], object]


def probe(version: EmbeddingVersion) -> RequestPart:
    """A request for a user without a stored vector, which any store can answer."""
    return RequestPart(version, STABLE, [PROBE])


def _without_vector(found: Sequence[Lookup], batches: Sequence[EmbeddingBatch]) -> list[str]:
    """Users of whom something is known, but no vector is stored."""
    return [
        user
        for one, batch in zip(found, batches, strict=True)
        for user, stored, source in zip(batch.user_ids, one.rows.found.tolist(), batch.source, strict=True)
        if source == COMPUTED and not stored
    ]


class PooledReader:
    """An EmbeddingReader that does not block the loop.

    A store that can be awaited is awaited (`asynchronous`). With any other, a read of at most `inline_users` runs at
    once, as handing it to a thread takes longer, and a larger one runs in a pool of threads. Vectors are computed in a
    pool of their own, so that cold users never hold up stored ones. While `compute_queue` requests are in that pool,
    further ones raise Unavailable; those that only want younger vectors get the stored ones, flagged as stale.
    `wanted`, which must not wait, is called with the users whose vector was computed because none is stored.
    """

    def __init__(
        self,
        reader: EmbeddingReader,
        store_threads: int,
        compute_threads: int,
        compute_queue: int,
        asynchronous: "FeatureRepo | None" = None,
        inline_users: int = 0,
        wanted: Wanted | None = None,
    ) -> None:
        self.reader = reader
        self._store = ThreadPoolExecutor(store_threads, thread_name_prefix="store")
        self._compute = BoundedThreads("computed vectors", compute_threads, compute_queue)
        self._asynchronous = asynchronous
        self._inline_users = inline_users
        self._wanted = wanted

    async def read(self, consumer: str, users: Sequence[str], strict: bool = False) -> Answer:
        """EmbeddingReader.read without blocking; the look-ups of two lanes run at the same time."""
        split = self.reader.split(consumer, users)
        if split.in_canary is None:
            only = await self.lookup(split.parts[0])
            if only.complete:
                return self.reader.stored(only)
            found = [only]
        else:
            found = await asyncio.gather(*map(self.lookup, split.parts))
            if all(one.complete for one in found):
                return join_batches(split, [self.reader.stored(one) for one in found])
        return join_batches(split, await self._completed(found, strict))

    async def stored(self, consumer: str, user: str) -> StoredEmbedding | None:
        """The stored vector of one user; None if it is missing, too old or in doubt: then `read` has to be called."""
        if not self.reader.sound:
            return None
        (part,) = self.reader.split(consumer, (user,)).parts
        version = part.version
        found = await self._one(version, user)
        if found is None:
            return None
        age = max(time.time() - found.computed_at * 1e-6, 0.0)
        if part.max_age is not None and age > part.max_age:
            return None
        return StoredEmbedding(user, found.vector, version.id, version.fingerprint, part.lane, found.as_of, age)

    async def _one(self, version: EmbeddingVersion, user: str) -> "VectorRow | None":
        if self._asynchronous is not None:
            return await self._asynchronous.read_vector_async(version, user)
        if self._inline_users:
            return self.reader.repo.read_vector(version, user)
        return await self.in_thread(lambda: self.reader.repo.read_vector(version, user))

    async def _completed(self, found: Sequence[Lookup], strict: bool) -> list[EmbeddingBatch]:
        try:
            batches = await self._compute.run(lambda: self.reader.complete(found, strict))
        except Unavailable:
            if not all(one.all_stored for one in found):
                raise
            return [self.reader.stored(one) for one in found]
        if self._wanted is not None and (users := _without_vector(found, batches)):
            self._wanted(users)
        return batches

    async def in_thread(self, work: Callable[[], Done]) -> Done:
        """Run work that waits, such as a query of the registry, in the threads of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._store, work)

    def warm(self, versions: Iterable[EmbeddingVersion]) -> list[Future[None]]:
        """Load in the background what is needed to compute vectors of these versions; failures are logged."""
        return [self._compute.pool.submit(self._warm, version) for version in versions]

    def _warm(self, version: EmbeddingVersion) -> None:
        try:
            self.reader.complete([self.reader.lookup(probe(version))])
        except Exception as error:
            # Stored vectors are served without it; a request that needs it gets the error as its answer.
            log.error("vectors of %s cannot be computed: %s", version.id, error)

    def close(self) -> None:
        """Let running work end and stop the threads."""
        self._store.shutdown(cancel_futures=True)
        self._compute.close()

    async def lookup(self, part: RequestPart) -> Lookup:
        """EmbeddingReader.lookup without blocking the loop."""
        if self._asynchronous is not None:
            return Lookup.from_rows(part, await self._asynchronous.read_vectors_async(part.version, part.users))
        if len(part.users) <= self._inline_users:
            return self.reader.lookup(part)
        return await self.in_thread(lambda: self.reader.lookup(part))
