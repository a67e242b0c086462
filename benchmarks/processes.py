"""Processor time and memory of the serving processes, by their role."""

from typing import Any

import psutil
import redis

TITLES = {"ray::ServeReplica:portrait": "gateway", "ray::ShardActor": "shard", "haproxy": "HAProxy"}
"""What Ray calls processes, or part of a command line: what they are here."""


def processes() -> dict[int, tuple[str, Any]]:
    """Processes below this one, by id: what they are, and psutil's handle."""
    found = {}
    for one in psutil.Process().children(recursive=True):
        try:
            command = " ".join(one.cmdline())
        except psutil.Error:
            continue
        names = [name for title, name in TITLES.items() if command.startswith(title) or f"/{title} " in command]
        found[one.pid] = (names[0] if names else "Ray", one)
    return found


def processor_seconds(online: str, postgres: bool) -> dict[str, float]:
    """Processor time used so far: of the processes below this one, of Redis, and of every Postgres on this machine."""
    seconds: dict[str, float] = {}
    for name, one in processes().values():
        seconds[name] = seconds.get(name, 0.0) + _used(one)
    if online:
        with redis.Redis.from_url(online) as client:
            told = client.info("cpu")
        seconds["Redis"] = told["used_cpu_user"] + told["used_cpu_sys"]
    if postgres:
        seconds["Postgres"] = sum(_used(one) for one in psutil.process_iter(["name"]) if one.info["name"] == "postgres")
    return seconds


def memory(name: str) -> float:
    """Resident bytes of the processes of a name."""
    total = 0
    for what, one in processes().values():
        if what == name:
            total += one.memory_info().rss
    return float(total)


def _used(one: Any) -> float:
    try:
        times = one.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
