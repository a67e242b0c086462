"""Intake of a shard: entries of the held buckets' broker streams, taken into the inbox before the log is read."""

import logging

from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.broker.intake import take_in, trim_behind
from portrait.feature_repo.ingest.records import RecordJudge
from portrait.feature_repo.log.event_log import EventLog
from portrait.serving.refresh.held_buckets import HeldBuckets

log = logging.getLogger(__name__)


class Intake:
    """Takes entries of the broker into the inbox before every micro-batch; without a broker there is no intake."""

    def __init__(self, broker: Broker, log: EventLog, judge: RecordJudge, held: HeldBuckets) -> None:
        self._broker = broker
        self._log = log
        self._judge = judge
        self._held = held
        self._known: dict[int, int] = {}  # epochs of the buckets whose streams were trimmed after an earlier holder

    def __call__(self) -> bool:
        """Take in the new entries; whether there were any. Raises LeaseLost or Unavailable."""
        leases = self._held.leases()
        if taken_over := {b: lease for b, lease in leases.items() if self._known.get(b) != lease.epoch}:
            trim_behind(self._broker, taken_over)
        self._known = {bucket: lease.epoch for bucket, lease in leases.items()}
        done = take_in(self._broker, self._log, self._judge, leases)
        self._held.record_stream_positions(done.positions)
        if done.clamped:
            log.warning("%d events from the broker lay in the future, and have the time of their reading", done.clamped)
        return bool(done.positions)

    def waiting(self) -> int:
        """The number of entries that are not in the inbox yet."""
        return sum(self._broker.length(bucket) for bucket in self._held.epochs)
