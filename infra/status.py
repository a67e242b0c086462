"""The state of an instance at a glance: its log, and its live versions with coverage, bytes and who reads them."""

from dataclasses import dataclass
from datetime import datetime

from feature_repo.log.manifest import Kind
from infra.portrait import Portrait
from registry.assignments import read_state
from registry.tables import LIVE_STATES


@dataclass(frozen=True)
class LogStatus:
    """How much the event log holds."""

    users: int
    events: int
    newest_event: datetime | None


@dataclass(frozen=True)
class VersionStatus:
    """A live version: how far its vectors reach, what they cost, and what keeps it alive."""

    version: str
    state: str
    users_online: int
    users_known: int
    as_of: datetime | None
    online_bytes: int  # of the vectors themselves, without the store's overhead
    offline_bytes: int
    consumers: list[str]


@dataclass(frozen=True)
class Status:
    """What `portrait status` shows."""

    home: str
    log: LogStatus
    versions: list[VersionStatus]


def read_status(portrait: Portrait) -> Status:
    """Read it from registry, log and stores."""
    manifest = portrait.log.manifest()
    known = portrait.log.users_count()
    readers: dict[str, list[str]] = {}
    for assignment in read_state(portrait.database).assignments.values():
        readers.setdefault(assignment.stable, []).append(assignment.consumer)
    versions = []
    for version in portrait.registry.versions.list(LIVE_STATES):
        online = portrait.repo.count_vectors(version)
        folder = portrait.settings.home / "embeddings" / version.id
        versions.append(
            VersionStatus(
                version=version.id,
                state=version.state,
                users_online=online,
                users_known=known,
                as_of=version.last_as_of,
                online_bytes=online * version.dimension * 4,
                offline_bytes=sum(path.stat().st_size for path in folder.rglob("*.parquet")),
                consumers=sorted(readers.get(version.id, [])),
            )
        )
    log = LogStatus(known, sum(segment.rows for segment in manifest.of(Kind.EVENTS)), manifest.watermark)
    return Status(str(portrait.settings.home), log, versions)
