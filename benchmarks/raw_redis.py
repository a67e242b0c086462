"""The gateway's look-ups asked of Redis itself, by hiredis alone: the limit for any server in front of it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import hiredis

from benchmarks.instance import Instance
from benchmarks.load import CONNECTIONS, Connection
from portrait.feature_repo.declaration.views import view_name
from portrait.feature_repo.online.redis import vector_commands

INCOMPLETE, LAST = object(), b"."


class Redis(Connection):
    """Parses replies as far as Python values."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._reader = hiredis.Reader(notEnoughData=INCOMPLETE)
        super().connection_made(transport)

    def _complete(self, data: bytes) -> bool:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not INCOMPLETE:
            if isinstance(reply, Exception):
                raise reply
            if reply == LAST:
                return True
        return False


CONNECTIONS["redis"] = Redis


def request(instance: Instance, users: Sequence[str]) -> bytes:
    """One pipeline of look-ups, between what names the database and what marks the end."""
    select = ("SELECT", urlsplit(instance.settings.online_store_url).path.strip("/") or "0")
    commands = vector_commands(instance.portrait.repo.config, view_name(instance.version.id), users)
    pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
    return b"".join(map(pack, (select, *commands, ("ECHO", LAST))))
