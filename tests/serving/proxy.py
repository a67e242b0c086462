"""A TCP proxy that a test can cut, or let hang with open connections."""

import socket
import threading
from contextlib import suppress
from typing import Self

from sqlalchemy import make_url


class Proxy:
    """Stands before a server on a port of its own, until the block ends."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._target = (self._url.host or "127.0.0.1", self._url.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._silent = threading.Event()
        self._let_go = threading.Event()
        self.silenced = 0  # connections made while it was silent

    @property
    def url(self) -> str:
        """The server's URL through the proxy."""
        return self._url.set(host="127.0.0.1", port=self._port).render_as_string(hide_password=False)

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        with suppress(OSError):  # wakes the accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def hush(self) -> None:
        """Accept, and from now on pass nothing on: what is open or comes now never gets an answer again."""
        self._silent.set()

    def mend(self) -> None:
        """Let new connections through; those that were silent stay so."""
        self._silent.clear()
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._let_go.set()
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:  # the server is away, and may come back
                    client.close()
                    continue
                self._open += [client, server]
                self.silenced += self._silent.is_set()
                hushed = threading.Event()
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink, hushed), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, hushed: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._silent.is_set():
                    hushed.set()
                if hushed.is_set():
                    continue
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
