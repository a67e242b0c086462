"""Senders: several connections that send every batch until it is answered, as a careful program would."""

import random
import threading
import time
from collections import deque
from collections.abc import Sequence

import httpx

from tests.torture.ledger import Event, Ledger

CONNECTIONS = 4
ANSWER_SECONDS = 5.0
AGAIN = 0.1
"""Share of answered batches that are sent once more, as if the answer had got lost."""


class Senders:
    """Threads that work through a queue of batches, about `rate` events a second."""

    def __init__(self, url: str, batches: Sequence[list[Event]], ledger: Ledger, rate: float, seed: int) -> None:
        self._url = url
        self._queue = deque(batches)
        self._ledger = ledger
        self._rate = rate
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._next = time.monotonic()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"sender-{n}") for n in range(CONNECTIONS)]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def join(self, until: float) -> bool:
        """Wait (to a time of time.monotonic) until every batch is answered; whether they are."""
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Give up what is left."""
        self._stopped.set()
        self.join(time.monotonic() + 2 * ANSWER_SECONDS)

    def _run(self) -> None:
        client = httpx.Client(base_url=self._url, timeout=ANSWER_SECONDS)
        while not self._stopped.is_set() and (batch := self._take()) is not None:
            if not self.send(client, batch):
                self._put_back(batch)
                client.close()
                client = httpx.Client(base_url=self._url, timeout=ANSWER_SECONDS)
                self._stopped.wait(0.2)
            elif self._random.random() < AGAIN:
                self._put_back(self._random.sample(batch, len(batch)))
        client.close()

    def send(self, client: httpx.Client, batch: Sequence[Event]) -> bool:
        """Send once; whether it needs no sending again."""
        self._ledger.sending(batch)
        try:
            answer = client.post("/v1/events", json=[event.to_json() for event in batch])
        except httpx.TransportError:
            self._ledger.no_answer()
            return False
        if answer.status_code == 202:
            self._ledger.answer(batch, answer.json())
            return True
        if answer.status_code < 500 and answer.status_code != 404:  # Serve's own, before the gateway is there
            self._ledger.complain(f"{len(batch)} good events were answered {answer.status_code}: {answer.text[:300]}")
            return True
        self._ledger.no_answer()
        return False

    def _take(self) -> list[Event] | None:
        """The next batch in its time."""
        with self._lock:
            if not self._queue:
                return None
            batch = self._queue.popleft()
            now = time.monotonic()
            due = max(self._next, now)
            self._next = due + len(batch) / self._rate
        self._stopped.wait(due - now)
        return batch

    def _put_back(self, batch: list[Event]) -> None:
        with self._lock:
            self._queue.insert(self._random.randint(0, len(self._queue)), batch)
