"""Checks after a round: the log holds every answered event once, and the online store is its fold."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Segment, SegmentKind
from portrait.feature_repo.log.tables import BucketRow, InboxRow, LeaseRow
from portrait.feature_repo.schemas import microseconds
from portrait.feature_repo.store.offline_inputs import read_inputs_offline
from portrait.infra.portrait import Portrait
from portrait.registry.database.database import Database
from portrait.registry.database.tables import VersionState
from portrait.serving.gateway.build import load_encoder_of
from portrait.training.encoding.encoding_times import encoding_times, times
from tests.torture.ledger import Ledger

TOLERANCE = 1e-5
EXAMPLES = 5


@dataclass
class Findings:
    """Counts of what is there and of what is wrong; `examples` of the latter."""

    in_log: int = 0  # events that the round sent
    lost: int = 0  # answered with 202, and not there
    doubled: int = 0  # there more than once
    foreign: int = 0  # there, and never sent
    users: int = 0
    histories_wrong: int = 0
    positions_wrong: int = 0
    vectors_wrong: dict[str, int] = field(default_factory=dict)  # by version
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        counts = (self.lost, self.doubled, self.foreign, self.histories_wrong, self.positions_wrong)
        return not any((*counts, *self.vectors_wrong.values()))

    def note(self, what: str) -> None:
        """Keep an example."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)


def event_ids(log: EventLog) -> Counter[str]:
    """How often the log holds each event, sealed or in the inbox."""
    ids: Counter[str] = Counter()
    for segment in log.manifest().segments_of(SegmentKind.EVENTS):
        ids.update(
            pq.read_table(log.home / segment.path, columns=["event_id"], partitioning=None)["event_id"].to_pylist()
        )
    with log.database.reading() as session:
        waiting = session.scalars(select(InboxRow.event_id).where(InboxRow.kind == SegmentKind.EVENTS.value)).all()
    # What is sealed already and has been sent again is known to the sealer, not to the inbox.
    ids.update({event_id for event_id in waiting if event_id is not None and event_id not in ids})
    return ids


def backlog(database: Database) -> int:
    """Positions of the log that no shard has noted as applied."""
    with database.reading() as session:
        ends = dict(session.execute(select(BucketRow.bucket, BucketRow.next_position)).all())
        applied = dict(session.execute(select(LeaseRow.bucket, LeaseRow.applied)).all())
    return sum(end - 1 - applied.get(bucket, 0) for bucket, end in ends.items() if bucket >= 0)


def check(portrait: Portrait, ledger: Ledger, before: Mapping[str, int]) -> Findings:
    """Compare log, histories and vectors of an instance that has come to rest; `before` is what its log held."""
    found = Findings()
    seal(portrait.log)
    _check_log(found, event_ids(portrait.log), ledger, before)
    snapshot = cut_snapshot(portrait.log)
    versions = portrait.registry.versions.list([VersionState.READY])
    encoders = {version.id: load_encoder_of(portrait.settings.home, version) for version in versions}
    found.vectors_wrong = dict.fromkeys(encoders, 0)
    positions = _positions(portrait.log)
    for bucket in sorted(snapshot.buckets):
        expected = read_inputs_offline(portrait.repo, snapshot, bucket)
        users = expected["user_id"].to_pylist()
        online = portrait.repo.read_inputs(users)
        found.users += len(users)
        _check_inputs(found, expected, online, positions)
        for version in versions:
            stored = portrait.repo.read_vectors(version, users)
            as_of = encoding_times(expected, microseconds(version.as_of_floor))
            vectors = encoders[version.id].encode(expected, as_of)
            apart = np.abs(vectors - stored.vectors).max(axis=1)
            same = (stored.as_of == as_of) & (stored.position == online["position"].to_numpy())
            for row in np.flatnonzero(~(stored.found & same & (apart <= TOLERANCE))).tolist():
                found.vectors_wrong[version.id] += 1
                found.note(
                    f"vector of {users[row]} at {version.id}: found {stored.found[row]}, apart {apart[row]:.2g}, "
                    f"as of {stored.as_of[row]} and not {as_of[row]}, position {stored.position[row]}"
                )
    return found


def _check_log(found: Findings, ids: Counter[str], ledger: Ledger, before: Mapping[str, int]) -> None:
    lost = ledger.answered - ids.keys()
    foreign = ids.keys() - ledger.sent.keys() - before.keys()
    doubled = [event_id for event_id, times in ids.items() if times > 1]
    found.in_log = len(ids.keys() & ledger.sent.keys())
    found.lost, found.foreign = len(lost), len(foreign)
    found.doubled = sum(ids[event_id] - 1 for event_id in doubled)
    for what, events in (("lost", lost), ("doubled", doubled), ("not sent", foreign)):
        for event_id in sorted(events)[:EXAMPLES]:
            found.note(f"event {event_id} is {what}")


def _check_inputs(found: Findings, expected: pa.Table, online: pa.Table, positions: Mapping[str, int]) -> None:
    columns = [name for name in expected.column_names if name not in ("position", "as_of", "computed_at")]
    wrong: dict[int, str] = {}
    for name in columns:
        pairs = zip(_values(expected[name]), _values(online[name]), strict=True)
        wrong |= {row: name for row, (ours, theirs) in enumerate(pairs) if not _same(ours, theirs)}
    found.histories_wrong += len(wrong)
    for row, name in wrong.items():
        found.note(f"{name} of {expected['user_id'][row]}: {online[name][row]} is not {expected[name][row]}"[:400])
    rows = zip(
        expected["user_id"].to_pylist(),
        expected["event_ids"].to_pylist(),
        expected["position"].to_pylist(),
        online["position"].to_pylist(),
        strict=True,
    )
    for user, kept, last, position in rows:
        # A shard counts what stayed in the history, a snapshot all that ever came: the same where the newest stayed.
        if not max((positions[event_id] for event_id in kept), default=0) <= position <= last:
            found.positions_wrong += 1
            found.note(f"position of {user}: {position} is not {last}")


def _values(column: pa.ChunkedArray) -> list[object]:
    """Plain values, times by the second as the online store keeps them."""
    values: list[object] = times(column.combine_chunks()).tolist() if _is_time(column) else column.to_pylist()
    return values


def _is_time(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_timestamp(column.type))


def _same(ours: object, theirs: object) -> bool:
    """Equal; a list that is not there and an empty one say the same."""
    return ours == theirs or (not ours and not theirs and isinstance(ours or theirs or [], list))


def _positions(log: EventLog) -> dict[str, int]:
    """Position of every event of a sealed log."""
    found: dict[str, int] = {}
    for segment in log.manifest().segments_of(SegmentKind.EVENTS):
        table = _table(log, segment)
        first = segment.first_position
        places = table["position"].to_pylist() if segment.positioned else range(first, first + table.num_rows)
        found.update(zip(table["event_id"].to_pylist(), places, strict=True))
    return found


def _table(log: EventLog, segment: Segment) -> pa.Table:
    return pq.read_table(log.home / segment.path, partitioning=None)
