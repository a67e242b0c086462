"""Files of a Redis server, rewritten so that no deleted bytes are left in them."""

import time
from collections.abc import Callable

import redis

REWRITE_SECONDS = 60.0
"""How long a server may take to write its append-only file or its dump."""

AT_WORK = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")


def purge(client: redis.Redis) -> list[str]:
    """Rewrite append-only file and dump of a server that keeps them; returns a sentence for each thing that failed."""
    left = []
    if client.info("persistence")["aof_enabled"]:
        left += _rewrite_file(client, "append-only file", client.bgrewriteaof, "aof_last_bgrewrite_status")
    try:
        dumps = bool(client.config_get("save").get("save"))
    except redis.ResponseError as error:  # managed servers keep their configuration to themselves
        return [*left, f"whether Redis keeps a dump file cannot be told ({error}): look after it yourself"]
    if dumps:
        left += _rewrite_file(client, "dump", client.bgsave, "rdb_last_bgsave_status")
    return left


def _rewrite_file(client: redis.Redis, what: str, begin: Callable[[], object], status: str) -> list[str]:
    until = time.monotonic() + REWRITE_SECONDS
    # A rewrite that began before the deletion may hold the deleted bytes: wait for it first.
    if not (
        _wait_until_idle(client, until) and _begin_rewrite(client, begin, until) and _wait_until_idle(client, until)
    ):
        return [f"Redis has not rewritten its {what} within {REWRITE_SECONDS:.0f} s: what was deleted is still in it"]
    if client.info("persistence")[status] != "ok":
        return [f"Redis could not rewrite its {what}: its log says why, and what was deleted is still in it"]
    return []


def _wait_until_idle(client: redis.Redis, until: float) -> bool:
    while any(client.info("persistence").get(sign) for sign in AT_WORK):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _begin_rewrite(client: redis.Redis, begin: Callable[[], object], until: float) -> bool:
    while True:
        try:
            begin()
            return True
        except redis.ResponseError:  # another client has just begun one
            if not _wait_until_idle(client, until) or time.monotonic() > until:
                return False
