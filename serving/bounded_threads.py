"""Thread pools with a bound on the work that may wait."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from portrait.registry.errors import Unavailable

Answer = TypeVar("Answer")


class BoundedThreads:
    """A pool that runs at most `threads` pieces of work at once, and takes at most `limit` under way or waiting.

    Work that is submitted to `pool` directly is not counted.
    """

    def __init__(self, name: str, threads: int, limit: int) -> None:
        self._name = name
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threading.BoundedSemaphore(limit)

    def submit(self, work: Callable[[], Answer]) -> Future[Answer]:
        """Start the work as soon as a thread is free; raises Unavailable at once when too much work waits."""
        if not self._free.acquire(blocking=False):
            raise Unavailable(f"too many requests wait for {self._name}: try again in a moment")
        running = self.pool.submit(work)
        # Released by the work itself: a caller that hung up does not make room for another.
        running.add_done_callback(lambda _: self._free.release())
        return running

    def close(self) -> None:
        """Let running work end, drop what waits, and stop the threads."""
        self.pool.shutdown(cancel_futures=True)

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """The work's answer, awaited; raises Unavailable as `submit` does."""
        return await asyncio.wrap_future(self.submit(work))
