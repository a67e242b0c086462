"""Publishable rows: raw features of users with positions beyond the published one."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa

from portrait.feature_repo.history.fold import FoldInput, fold
from portrait.feature_repo.ingest.seal import sealed_manifest
from portrait.feature_repo.log import manifest as manifests
from portrait.feature_repo.log.event_log import EventLog, default_as_of
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.profiles import profile_schema_at
from portrait.feature_repo.schemas import HISTORY


def publishable_rows(
    log: EventLog, bucket: int, beyond: int | None = None, only: Sequence[str] | None = None
) -> tuple[pa.Table, pa.Table, int]:
    """Histories (HISTORY) and profiles of the bucket's users with rows beyond a position, and the position they reach.

    The default position is the published one, and `only` limits the users. The rows are folded at the log's default
    as-of. All profile rows count, also those of users who signed up later than the newest event: the online store shows
    what is known now.
    """
    return log.read(
        lambda manifest: _publishable_rows(log, manifest, bucket, beyond, only), lambda: sealed_manifest(log, (bucket,))
    )


def _publishable_rows(
    log: EventLog, manifest: Manifest, bucket: int, beyond: int | None, only: Sequence[str] | None
) -> tuple[pa.Table, pa.Table, int]:
    schema = profile_schema_at(log.home, manifest)
    published = manifest.published.get(bucket, 0) if beyond is None else beyond
    events, users = (
        manifest.segments_of(SegmentKind.EVENTS, (bucket,)),
        manifest.segments_of(SegmentKind.USERS, (bucket,)),
    )
    up_to = max((segment.last_position for segment in (*events, *users)), default=0)
    if up_to <= published:
        return HISTORY.empty_table(), schema.empty_table(), published
    given = FoldInput(
        home=log.home,
        events=events,
        users=users,
        profile_schema=schema,
        history_length=log.settings.history_length,
        as_of=default_as_of(manifest),
        computed_at=datetime.now(UTC),
        beyond=published,
        only=only,
    )
    with log.duck() as duck:
        folded = fold(duck, given)
    return folded.histories, folded.profiles, up_to


def mark_published(log: EventLog, bucket: int, up_to: int) -> None:
    """Record that the bucket's positions up to `up_to` are in the online store; never goes back."""
    manifests.mark_published(log.database, bucket, up_to)
