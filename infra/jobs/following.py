"""Whether the gateways that are running have followed a change."""

import time

from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation

SECONDS = 2.0


def wait_for_gateways(registry: Registry, seconds: float = SECONDS) -> str:
    """Wait until every gateway serves the registry's present state, and say so; empty when none is running."""
    alive = len(registry.replicas.list())
    if not alive:
        return ""
    generation, until = read_generation(registry.database), time.monotonic() + seconds
    while behind := registry.replicas.behind(generation):
        if time.monotonic() > until:
            names = ", ".join(f"{replica.id} on {replica.host}" for replica in behind)
            return f"{alive - len(behind)} of {alive} gateways serve it; not yet: {names}"
        time.sleep(0.02)
    return f"served by {alive} of {alive} gateways"
