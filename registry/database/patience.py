"""A limit to how long a silent server is waited for."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import psycopg
from sqlalchemy import Engine, event


class Patience:
    """Cuts the connections of an engine when a block takes longer than so many seconds.

    A server that stands still, or a proxy before it, may keep a connection open and never answer. Nothing in libpq
    ends that wait: `connect_timeout` covers connecting only, `statement_timeout` is kept by the server, and for TCP
    all is well. Who waits on a connection that is cut gets the error of a lost one.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._seconds = seconds
        self._open: WeakSet[Any] = WeakSet()
        # First of all listeners, as SQLAlchemy's own asks a new connection its first questions.
        event.listen(engine, "connect", self._opened, insert=True)

    @contextmanager
    def limit(self) -> Iterator[None]:
        """The block that must be done in time."""
        timer = threading.Timer(self._seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _opened(self, connection: Any, _record: Any) -> None:
        self._open.add(connection)

    def _cut(self) -> None:
        for connection in list(self._open):
            with suppress(OSError, psycopg.Error):  # closed in the meantime
                _shut_down(connection.fileno())


def _shut_down(number: int) -> None:
    with socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
