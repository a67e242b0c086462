"""Times of a restart from nothing to serving, by stage."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import httpx

from portrait.feature_repo.schemas import from_microseconds
from portrait.registry.errors import Unavailable
from tests.torture.ledger import Event, Ledger
from tests.torture.processes import GATEWAY, SHARD, Serving


class Stage(StrEnum):
    """What is there, in the order in which it comes as a rule."""

    RAY = "Ray"
    SHARD = "shard"
    REPLICA = "replica"
    READY = "/readyz"
    EMBEDDING = "embedding"
    REFRESHED = "event readable"


WITHIN = 180.0


@dataclass
class Restart:
    """Seconds from the start of the first process until each stage."""

    seconds: dict[Stage, float] = field(default_factory=dict)

    @property
    def serving(self) -> float:
        """Until the first good answers."""
        return max(self.seconds[Stage.READY], self.seconds[Stage.EMBEDDING])


def watch(serving: Serving, url: str, consumer: str, event: Event, ledger: Ledger, started: float) -> Restart:
    """Look for each stage since `started` (of time.monotonic); `event` is sent for the last one.

    Its user must have no later one. Raises Unavailable when a stage does not come.
    """
    address = f"/v1/consumers/{consumer}/embeddings/{event.user_id}"
    found = Restart()
    with httpx.Client(base_url=url, timeout=2.0) as client:
        waiting = set(Stage) - {Stage.REFRESHED}
        while waiting:
            for stage in waiting & _there(serving, client, address):
                found.seconds[stage] = time.monotonic() - started
                waiting.discard(stage)
            if serving.ended:
                raise Unavailable("`portrait serve` ended while it started")
            if time.monotonic() - started > WITHIN:
                raise Unavailable(f"not there {WITHIN:.0f} s after the start: {', '.join(sorted(waiting))}")
            time.sleep(0.1)
        _send(client, event, ledger, started)
        while not _knows(_json(client, address), event):
            if time.monotonic() - started > WITHIN:
                raise Unavailable(f"event {event.event_id} was not readable {WITHIN:.0f} s after the start")
            time.sleep(0.01)
        found.seconds[Stage.REFRESHED] = time.monotonic() - started
    return found


def _there(serving: Serving, client: httpx.Client, address: str) -> set[Stage]:
    """The stages that are there at the moment."""
    prefixes = {Stage.RAY: "ray::", Stage.SHARD: SHARD, Stage.REPLICA: GATEWAY}
    titles = serving.titles()
    there = {stage for stage, prefix in prefixes.items() if any(title.startswith(prefix) for title in titles)}
    if Stage.REPLICA in there:
        if _json(client, "/readyz").get("status") == "ready":
            there.add(Stage.READY)
        if "vector" in _json(client, address):
            there.add(Stage.EMBEDDING)
    return there


def _send(client: httpx.Client, event: Event, ledger: Ledger, started: float) -> None:
    ledger.sending([event])
    while time.monotonic() - started < WITHIN:
        try:
            answer = client.post("/v1/events", json=event.to_json())
        except httpx.TransportError:
            ledger.no_answer()
        else:
            if answer.status_code == 202:
                ledger.answer([event], answer.json())
                return
            ledger.no_answer()
        time.sleep(0.05)
    raise Unavailable(f"event {event.event_id} was not accepted {WITHIN:.0f} s after the start")


def _knows(embedding: dict[str, Any], event: Event) -> bool:
    return "as_of" in embedding and datetime.fromisoformat(embedding["as_of"]) > from_microseconds(event.event_time)


def _json(client: httpx.Client, path: str) -> dict[str, Any]:
    try:
        answer = client.get(path)
        content: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    except (httpx.TransportError, ValueError):
        return {}
    return content
