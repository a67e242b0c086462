"""Users whose rows the server of the online store has evicted, told from users of whom nobody has ever heard.

Both have no row. Only where the server evicts rows the log is asked, behind the reads, and what it does not know is
remembered for a while.
"""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from portrait.feature_repo.history.logged_users import LoggedUsers
from portrait.feature_repo.log import refresh_requests
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.tables import BucketRow
from portrait.serving.reads.refresh_requests import RefreshRequests

log = logging.getLogger(__name__)

SECONDS = 600.0
"""For how long a user whom the log does not know counts as a stranger, and the users of a bucket as read."""

MOST = 100_000
"""Strangers that are remembered at most."""


class EvictedUsers:
    """Has the refresh put evicted users back, a second after somebody has asked for them."""

    def __init__(self, event_log: EventLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = event_log
        self._logged = LoggedUsers(event_log)
        self._clock = clock
        self._strangers: set[str] = set()
        self._until = 0.0
        self._waiting = RefreshRequests(self.look)

    def doubtful(self, users: Sequence[str]) -> NDArray[np.bool_]:
        """Bool [n]: those of users without any row who may have been evicted; they are looked for in the log soon."""
        strangers = self._strangers
        doubtful = [user for user in users if user not in strangers]
        if doubtful:
            self._waiting.add(doubtful)
        return np.array([user not in strangers for user in users], np.bool_)

    def look(self, users: Sequence[str]) -> None:
        """Ask for those of the users whom the log knows; the others are strangers. Raises Unavailable."""
        now = self._clock()
        with self._log.database.reading() as session:
            rows = session.execute(select(BucketRow.bucket, BucketRow.next_position).where(BucketRow.bucket >= 0))
            applied = {bucket: position - 1 for bucket, position in rows}
        epoch = int(now / SECONDS)
        evicted = self._logged.among(users, dict.fromkeys(applied, epoch), applied)
        if evicted:
            log.warning("%d users have vanished from the online store: the refresh is asked for them", len(evicted))
            refresh_requests.ask(self._log, evicted)
        if now > self._until or len(self._strangers) > MOST:
            self._strangers, self._until = set(), now + SECONDS
        self._strangers |= {*users} - {*evicted}

    def start(self) -> None:
        """Look every second from now on."""
        self._waiting.start()

    def stop(self) -> None:
        """Look for those who wait, and stop."""
        self._waiting.stop()
