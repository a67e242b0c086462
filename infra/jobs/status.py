"""The status of an instance: its log, its versions and its gateways; and the wait until gateways follow a change."""

import time
from dataclasses import dataclass
from datetime import datetime

from portrait.feature_repo.log.forgotten import count_unfinished
from portrait.feature_repo.log.inbox import count_inbox, newest_in_inbox
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.store.reconcile_process import generations_behind
from portrait.infra.portrait import Portrait
from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Unavailable
from portrait.registry.records.records import EmbeddingVersion, Pin, Replica, Role
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation
from portrait.serving.operations.freshness import Freshness, read_freshness
from portrait.serving.state.store_watch import StoreWatch


@dataclass(frozen=True)
class LogStatus:
    """The size of the event log."""

    users: int
    events: int
    newest_event: datetime | None
    in_inbox: int  # rows of the inbox that are in no file yet; `events` does not count them


@dataclass(frozen=True)
class VersionStatus:
    """A version that is not retired: the reach of its vectors, their size, and the pins that keep it alive."""

    version: str
    state: str
    users_online: int | None  # None while the online store is away
    users_known: int
    as_of: datetime | None
    online_bytes: int | None  # of the vectors themselves, without the store's overhead; None as above
    offline_bytes: int
    consumers: list[str]  # consumers that read it, stable or canary
    kept_by: list[str]  # every pin as text; empty when it may be retired


@dataclass(frozen=True)
class Status:
    """The state of an instance, as `portrait status` shows it."""

    home: str
    log: LogStatus
    versions: list[VersionStatus]
    generation: int  # of the registry
    feast_behind: int  # generations that plain Feast clients do not see yet
    gateways: list[Replica]  # seen lately
    refresh: Freshness
    online_store: str | None  # what the online store has lost, or why it does not match; None when it is sound
    forgetting: int  # users whose forgetting was interrupted: forget them again
    away: list[str]  # what does not answer, and so is not counted


def read_status(portrait: Portrait) -> Status:
    """The status of an instance, from its registry, log and stores; raises Unavailable when the registry is away."""
    manifest = portrait.log.manifest()
    known = portrait.log.users_count()
    pins: dict[str, list[Pin]] = {}
    for pin in portrait.registry.retirements.pins():
        pins.setdefault(pin.version, []).append(pin)
    versions: list[VersionStatus] = []
    away: list[str] = []
    for version in portrait.registry.versions.list(set(VersionState) - {VersionState.RETIRED}):
        online = None
        if not away:  # asking again would only wait again
            try:
                online = _online(portrait, version)
            except Unavailable as error:
                away.append(str(error))
        folder = portrait.settings.home / "embeddings" / version.id
        versions.append(
            VersionStatus(
                version=version.id,
                state=version.state,
                users_online=online,
                users_known=known,
                as_of=version.last_as_of,
                online_bytes=None if online is None else online * version.dimension * 4,
                offline_bytes=sum(path.stat().st_size for path in folder.rglob("*.parquet")),
                consumers=sorted({pin.consumer for pin in pins.get(version.id, []) if pin.why != "rollback"}),
                kept_by=[_why(pin) for pin in pins.get(version.id, [])],
            )
        )
    return Status(
        home=str(portrait.settings.home),
        log=LogStatus(
            known,
            sum(segment.rows for segment in manifest.segments_of(SegmentKind.EVENTS)),
            max(filter(None, (manifest.watermark, newest_in_inbox(portrait.database))), default=None),
            count_inbox(portrait.database),
        ),
        versions=versions,
        generation=read_generation(portrait.database),
        feast_behind=generations_behind(portrait.database),
        gateways=[replica for replica in portrait.registry.replicas.list() if replica.role in GATEWAYS],
        refresh=read_freshness(portrait.registry),
        online_store=_store_trouble(portrait, away),
        forgetting=count_unfinished(portrait.database),
        away=away,
    )


def _store_trouble(portrait: Portrait, away: list[str]) -> str | None:
    """What is wrong with the online store; one that is away is added to `away`, unless it is there."""
    watch = StoreWatch(portrait.repo.identity)
    if not away:
        try:
            watch.look()
        except Unavailable as error:
            away.append(str(error))
    return watch.trouble


def _online(portrait: Portrait, version: EmbeddingVersion) -> int:
    try:
        return portrait.repo.count_vectors(version)
    except Unavailable:
        if version.state == VersionState.RETIRING:  # its view has gone already
            return 0
        raise


def _why(pin: Pin) -> str:
    if pin.until is not None:
        return f"{pin.consumer} may go back to it until {pin.until:%Y-%m-%d %H:%M}"
    return f"{pin.consumer} reads it" if pin.why == "stable" else f"{pin.consumer} has it in canary"


GATEWAYS: tuple[Role, ...] = ("gateway",)
SECONDS = 2.0


def wait_for_gateways(registry: Registry, seconds: float = SECONDS) -> str:
    """Wait until every gateway serves the registry's present state; returns a sentence about it, empty without any."""
    alive = sum(replica.role in GATEWAYS for replica in registry.replicas.list())
    if not alive:
        return ""
    generation, until = read_generation(registry.database), time.monotonic() + seconds
    while behind := registry.replicas.behind(generation, roles=GATEWAYS):
        if time.monotonic() > until:
            names = ", ".join(f"{replica.id} on {replica.host}" for replica in behind)
            return f"{max(alive - len(behind), 0)} of {alive} gateways serve it; not yet: {names}"
        time.sleep(0.02)
    return f"served by {alive} of {alive} gateways"
