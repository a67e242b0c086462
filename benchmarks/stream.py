"""The setup that freshness and soak share: two live versions with a consumer each, and a plan for their users."""

from typing import Any

import pyarrow.parquet as pq

from benchmarks.instance import CONSUMER, Instance
from benchmarks.open_loop import Plan
from benchmarks.threads import torch_threads
from portrait.infra.jobs.versions import train_version
from portrait.infra.portrait import Portrait
from portrait.registry.database.tables import VersionState
from portrait.training.backfill.backfill import backfill

SECOND = f"{CONSUMER}_2"


def with_two_versions(instance: Instance) -> tuple[str, str]:
    """The consumers of two live versions; what of them is not there yet is made."""
    portrait = instance.portrait
    if SECOND in {consumer.name for consumer in portrait.registry.consumers.list()}:
        return CONSUMER, SECOND
    others = [v for v in portrait.registry.versions.list([VersionState.READY]) if v.id != instance.version.id]
    portrait.registry.consumers.add(SECOND, "benchmark", "measure")
    portrait.operations.promote("benchmark", SECOND, others[0].id if others else _another(portrait), "to be read")
    portrait.repo.apply()
    return CONSUMER, SECOND


def _another(portrait: Portrait) -> str:
    """A version that is trained from another seed, and embedded."""
    here = Portrait(portrait.settings.model_copy(update={"num_workers": 0}))
    with torch_threads(1):
        version = train_version(here, "autoencoder", overrides=["epochs=1", "seed=100"])
        backfill(portrait.repo, version.id, portrait.settings)
    return version.id


def plan(instance: Instance, url: str, seconds: float, **changes: Any) -> Plan:
    """A plan for all users and items of the instance."""
    items = pq.read_table(instance.settings.home / "generated" / "items.parquet", columns=["service", "item_id"])
    pairs = list(zip(items["service"].to_pylist(), items["item_id"].to_pylist(), strict=True))
    return Plan(url, with_two_versions(instance), instance.user_ids, pairs, seconds, **changes)
