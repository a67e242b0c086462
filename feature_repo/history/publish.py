"""Publishable rows: raw features of users with positions beyond the published one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from portrait.feature_repo.history.fold import FoldInput, fold
from portrait.feature_repo.ingest.seal import sealed_manifest
from portrait.feature_repo.log.event_log import EventLog, default_as_of
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.profiles import profile_schema_at
from portrait.feature_repo.schemas import HISTORY


@dataclass(frozen=True)
class PublishableRows:
    """Histories (HISTORY) and profiles of users with new rows, and the position that each bucket reaches with them."""

    histories: pa.Table
    profiles: pa.Table
    up_to: dict[int, int]


def publishable_rows(
    log: EventLog,
    buckets: Collection[int],
    beyond: Mapping[int, int] | None = None,
    only: Sequence[str] | None = None,
) -> PublishableRows:
    """The rows of some buckets' users that are new: beyond a bucket's position, by default the published one.

    `only` limits the users. The rows are folded at the log's default as-of. All profile rows count, also those of users
    who signed up later than the newest event: the online store shows what is known now.
    """
    return log.read(
        lambda manifest: _publishable_rows(log, manifest, buckets, beyond or {}, only),
        lambda: sealed_manifest(log, buckets),
    )


def _publishable_rows(
    log: EventLog, manifest: Manifest, buckets: Collection[int], beyond: Mapping[int, int], only: Sequence[str] | None
) -> PublishableRows:
    schema = profile_schema_at(log.home, manifest)
    known = {bucket: beyond.get(bucket, manifest.published.get(bucket, 0)) for bucket in buckets}
    ends = manifest.ends_of(buckets)
    new = [bucket for bucket in buckets if ends[bucket] > known[bucket]]
    if not new:
        return PublishableRows(HISTORY.empty_table(), schema.empty_table(), known)
    given = FoldInput(
        home=log.home,
        events=manifest.segments_of(SegmentKind.EVENTS, new),
        users=manifest.segments_of(SegmentKind.USERS, new),
        profile_schema=schema,
        history_length=log.settings.history_length,
        as_of=default_as_of(manifest),
        computed_at=datetime.now(UTC),
        beyond=known,
        only=only,
    )
    with log.duck() as duck:
        folded = fold(duck, given)
    return PublishableRows(folded.histories, folded.profiles, known | {bucket: ends[bucket] for bucket in new})


def portions_of(manifest: Manifest, buckets: Sequence[int], most: int) -> list[list[int]]:
    """The buckets in portions whose segments have about `most` rows, at least a bucket each."""
    portions, rows = list[list[int]](), 0
    for bucket in buckets:
        held = sum(
            s.rows for kind in (SegmentKind.EVENTS, SegmentKind.USERS) for s in manifest.segments_of(kind, [bucket])
        )
        if not portions or rows + held > most:
            portions.append([])
            rows = 0
        portions[-1].append(bucket)
        rows += held
    return portions
