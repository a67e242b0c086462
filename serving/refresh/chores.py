"""Chores of a shard: versions refreshed in batches, vectors asked for by gateways, sealing."""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import func, select

from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log import leases, refresh_requests
from portrait.feature_repo.log.manifest import ITEMS_BUCKET
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.log.tail import read_tail
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.refresh.refresher import BATCH_ROWS, Refresher

log = logging.getLogger(__name__)


class Chores:
    """The chores of one shard; each call does a bounded piece of work."""

    def __init__(self, refresher: Refresher, seal_rows: int, seal_seconds: float) -> None:
        self._refresher = refresher
        self._repo = refresher.repo
        self._held = refresher.held
        self._seal_rows = seal_rows
        self._seal_seconds = seal_seconds

    def refresh_in_batches(self, versions: Sequence[EmbeddingVersion]) -> bool:
        """Embed at these versions the users of rows that were applied at the eager versions; whether there was any.

        A version that cannot be refreshed does not hold up the others, but no position is settled until it has caught
        up.
        """
        if not self._refresher.missed and not self._refresher.behind:
            self._held.settle()
        epochs, applied, lazily = self._held.work_in_batches()
        trailing = {bucket: position for bucket, position in lazily.items() if position < applied[bucket]}
        if not trailing:
            return False
        if not versions:
            self._held.record_progress({bucket: applied[bucket] for bucket in trailing}, epochs, lazily=True)
            return False
        log_of = self._repo.log
        tail = read_tail(log_of.database, log_of.home, trailing, BATCH_ROWS, log_of.forgotten)
        done = {bucket: min(end, applied[bucket]) for bucket, end in (tail.up_to | tail.large).items()}
        users = {row.user_id: None for row in tail.rows if row.position <= done[row.bucket]}
        self._refresher.embed(list(users), epochs, versions)
        for bucket in tail.large:
            self._refresher.fold_anew(bucket, trailing[bucket], epochs[bucket])
        self._held.record_progress(done, epochs, lazily=True)
        return bool(done)

    def answer_requests(self, versions: Sequence[EmbeddingVersion]) -> None:
        """Store the vectors of users whose vectors a gateway had to compute on read."""
        epochs, database = self._held.epochs, self._repo.log.database
        with database.reading() as session:
            users = [user for bucket in refresh_requests.buckets(session) if bucket in epochs
                     for user in refresh_requests.take(session, bucket, BATCH_ROWS)][:BATCH_ROWS]  # fmt: skip
        if users:
            self._refresher.embed(users, epochs, versions)
            with database.transaction() as session:
                refresh_requests.drop(session, users)

    def seal(self) -> int:
        """Seal the held buckets whose inbox is long or old; returns the number of rows sealed."""
        epochs = self._held.epochs
        due = self._due(epochs)
        if not due:
            return 0
        mine = {bucket: epochs[bucket] for bucket in due if bucket in epochs}
        done = seal(self._repo.log, due, within=partial(leases.require_held, epochs=mine))
        if done.taken:
            log.warning("rows of %d users that the log cannot hold went to the rejects", len(done.taken))
            self._make_anew(done.taken, mine)
        return done.rows

    def _make_anew(self, users: Sequence[str], epochs: Mapping[int, int]) -> None:
        """Rebuild from the log the inputs of users that hold a row which the log has refused.

        Their vectors are computed on read until the next `answer_requests`.
        """
        self._repo.online.delete_users(self._repo.config, list(users))
        for bucket in {bucket_of(user) for user in users} & epochs.keys():
            self._repo.publish_bucket(bucket, 0, epochs[bucket])
        refresh_requests.ask(self._repo.log, list(users))

    def _due(self, epochs: Mapping[int, int]) -> list[int]:
        before = int((time.time() - self._seal_seconds) * 1e6)
        buckets = [*epochs, *([ITEMS_BUCKET] if 0 in epochs else [])]  # items go with the first bucket
        with self._repo.log.database.reading() as session:
            held = session.execute(
                select(InboxRow.bucket, func.count(), func.min(InboxRow.accepted_at))
                .where(InboxRow.bucket.in_(buckets))
                .group_by(InboxRow.bucket)
            )
            return [bucket for bucket, rows, oldest in held if rows >= self._seal_rows or oldest < before]
