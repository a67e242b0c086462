"""Requests to the refresh: vectors that a gateway computed on read are to be stored; no answer waits for it."""

import logging
import threading
from collections.abc import Callable, Sequence

from portrait.registry.errors import PortraitError

log = logging.getLogger(__name__)

MOST_USERS = 10_000
"""The most users kept until the next writing; in a flood the others are asked for when they are read again."""

SECONDS = 1.0


class RefreshRequests:
    """Collects users, and hands them to `write` every second in a thread.

    `write` may wait and may raise: then the users are handed over again. Failures are logged once an outage.
    """

    def __init__(
        self, write: Callable[[Sequence[str]], object], seconds: float = SECONDS, most: int = MOST_USERS
    ) -> None:
        self._write = write
        self._seconds = seconds
        self._most = most
        self._users: set[str] = set()
        self._lock = threading.Lock()
        self._failing = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="requests for refresh", daemon=True)

    def add(self, users: Sequence[str]) -> None:
        """Ask for these users with the next writing; those beyond the bound are left out."""
        with self._lock:
            for user in users:
                if len(self._users) >= self._most:
                    return
                self._users.add(user)

    def start(self) -> None:
        """Start the thread that writes every second."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Write the users that are left, and wait at most `seconds` for it."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def write(self) -> None:
        """Hand over the users collected so far; never raises."""
        with self._lock:
            users, self._users = self._users, set()
        if not users:
            return
        try:
            self._write(list(users))
            self._failing = False
        except Exception as error:
            if not self._failing:
                log.warning("users to be refreshed wait: %s", error, exc_info=not isinstance(error, PortraitError))
            self._failing = True
            self.add(list(users))

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.write()
        self.write()
