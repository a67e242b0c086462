"""The reader for an event loop: waiting happens elsewhere, and what computes is bounded."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from registry.errors import Unavailable
from registry.records import EmbeddingVersion
from serving.batch import EmbeddingBatch
from serving.reader import EmbeddingReader, Lookup, StoredVectors

log = logging.getLogger(__name__)

PROBE = "\x00probe"
"""A user whom nobody knows: asking for it goes the whole way to the prior."""

Answer = TypeVar("Answer")
AsyncLookup = Callable[[EmbeddingVersion, Sequence[str]], Awaitable[StoredVectors]]


class PooledReader:
    """EmbeddingReader without blocking the loop.

    The store is awaited where `read_async` does so without a thread. Elsewhere a read of at most `inline_users` is done
    at once, as it takes less than handing it to a thread would, and a larger one in a few threads. Vectors are computed
    in a pool of their own, so that cold users never hold up stored ones; with `compute_queue` requests in it, further
    ones are refused with Unavailable.
    """

    def __init__(
        self,
        reader: EmbeddingReader,
        store_threads: int,
        compute_threads: int,
        compute_queue: int,
        read_async: AsyncLookup | None = None,
        inline_users: int = 0,
    ) -> None:
        self.reader = reader
        self._store = ThreadPoolExecutor(store_threads, thread_name_prefix="store")
        self._compute = ThreadPoolExecutor(compute_threads, thread_name_prefix="compute")
        self._free = threading.BoundedSemaphore(compute_queue)
        self._read_async = read_async
        self._inline_users = inline_users

    async def read(self, consumer: str, users: Sequence[str], strict: bool = False) -> EmbeddingBatch:
        """EmbeddingReader.read, awaited."""
        version = self.reader.assigned(consumer)
        found = await self.lookup(version, users)
        if found.complete:
            return self.reader.stored(found)
        return await self._bounded(lambda: self.reader.complete(found, strict))

    async def in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Any other waiting, such as a query of the registry."""
        return await asyncio.get_running_loop().run_in_executor(self._store, work)

    def warm(self, versions: Iterable[EmbeddingVersion]) -> list[Future[None]]:
        """Load in the background what computing at these versions needs; failures are logged."""
        return [self._compute.submit(self._warm, version) for version in versions]

    def _warm(self, version: EmbeddingVersion) -> None:
        try:
            self.reader.complete(self.reader.lookup(version, [PROBE]))
        except Exception as error:
            # Stored vectors are served without it; who needs it gets the error again, as an answer.
            log.error("vectors of %s cannot be computed: %s", version.id, error)

    def close(self) -> None:
        """Let running work end and stop the threads."""
        self._store.shutdown(cancel_futures=True)
        self._compute.shutdown(cancel_futures=True)

    async def lookup(self, version: EmbeddingVersion, users: Sequence[str]) -> Lookup:
        """EmbeddingReader.lookup, awaited."""
        if self._read_async is not None:
            return Lookup(version, users, await self._read_async(version, users))
        if len(users) <= self._inline_users:
            return self.reader.lookup(version, users)
        return await self.in_thread(lambda: self.reader.lookup(version, users))

    async def _bounded(self, work: Callable[[], Answer]) -> Answer:
        if not self._free.acquire(blocking=False):
            raise Unavailable(
                "too many requests wait for computed vectors: try again in a moment, "
                "or backfill the version so that fewer users need computing"
            )
        running = self._compute.submit(work)
        # Given back by the work itself: a caller that hung up does not make room for another.
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.wrap_future(running)
