"""Leases of buckets: the refresh shard that holds each, its progress, and the epoch that shuts earlier holders out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from portrait.feature_repo.log.partition import BUCKETS
from portrait.feature_repo.log.tables import BucketRow, LeaseRow
from portrait.registry.database.database import Database
from portrait.registry.errors import LeaseLost
from portrait.registry.rows import database_now

LEASE = timedelta(seconds=6)
"""A holder that was silent for longer counts as dead."""


@dataclass(frozen=True)
class Lease:
    """The lease of a bucket, as its holder has it."""

    bucket: int
    epoch: int
    applied: int  # positions up to here are online at the eagerly refreshed versions
    applied_lazily: int  # and at those refreshed in batches
    stream_id: str | None  # the broker's entries up to here are in the inbox
    lost: bool = False  # the online store lost rows of the bucket that are not all back yet


class Leases:
    """The leases of one holder; every statement is conditional on the holder still being it."""

    def __init__(self, database: Database, owner: str, buckets: int = BUCKETS) -> None:
        self._database = database
        self.owner = owner
        self.buckets = buckets

    def hold(self, share: int, known: Mapping[int, int]) -> dict[int, Lease]:
        """Prolong the held leases, up to `share` buckets; give some back or take free ones to reach that number.

        `known` are the epochs of the buckets that the caller works on. A bucket held under this name with another epoch
        is of an earlier life: it is taken anew, with a higher epoch. Returns all leases held now.
        """
        with self._database.transaction() as session:
            now = database_now(session)
            rows = self._locked(session)
            mine = [row for row in rows if row.owner == self.owner and known.get(row.bucket) == row.epoch]
            for row in mine[share:]:
                row.owner, row.expires_at = None, now
            mine = mine[:share]
            for row in rows:
                if len(mine) == share:
                    break
                if row in mine or (row.owner not in (None, self.owner) and row.expires_at > now):
                    continue
                row.owner, row.epoch = self.owner, row.epoch + 1
                mine.append(row)
            for row in mine:
                row.expires_at = now + LEASE
            lost = set(session.scalars(select(BucketRow.bucket).where(BucketRow.lost)))
            return {
                row.bucket: Lease(
                    row.bucket, row.epoch, row.applied, row.applied_lazily, row.stream_id, row.bucket in lost
                )
                for row in mine
            }

    def advance(self, epochs: Mapping[int, int], applied: Mapping[int, int], lazily: bool = False) -> None:
        """Note how far the buckets have come.

        Raises LeaseLost, with nothing noted, when one of them is not held any more.
        """
        with self._database.transaction() as session:
            for bucket, position in sorted(applied.items()):
                held = (LeaseRow.bucket == bucket) & (LeaseRow.epoch == epochs[bucket])
                column = LeaseRow.applied_lazily if lazily else LeaseRow.applied
                session.execute(update(LeaseRow).where(held, column < position).values({column: position}))
                if not lazily:
                    behind = (BucketRow.bucket == bucket) & (BucketRow.published < position)
                    session.execute(update(BucketRow).where(behind).values(published=position))
            require_held(session, {bucket: epochs[bucket] for bucket in applied})

    def seize(self, bucket: int) -> int:
        """Take a bucket from whoever holds it, for the length of a lease; returns the epoch.

        Its holder is refused from now on, and begins where it stood once the bucket is given back.
        """
        with self._database.transaction() as session:
            row = next(row for row in self._locked(session) if row.bucket == bucket)
            row.owner, row.epoch, row.expires_at = self.owner, row.epoch + 1, database_now(session) + LEASE
            return row.epoch

    def restore(self, bucket: int, epoch: int) -> None:
        """Note that all rows of a bucket which the online store lost are back; raises LeaseLost."""
        with self._database.transaction() as session:
            require_held(session, {bucket: epoch})
            session.execute(update(BucketRow).where(BucketRow.bucket == bucket).values(lost=False))

    def give_back(self, epochs: Mapping[int, int]) -> None:
        """Give the buckets to others at once, not only when the lease ends."""
        with self._database.transaction() as session:
            now = database_now(session)
            for bucket, epoch in sorted(epochs.items()):
                held = (LeaseRow.bucket == bucket) & (LeaseRow.epoch == epoch) & (LeaseRow.owner == self.owner)
                session.execute(update(LeaseRow).where(held).values(owner=None, expires_at=now))

    def _locked(self, session: Session) -> list[LeaseRow]:
        statement = select(LeaseRow).order_by(LeaseRow.bucket).with_for_update()
        rows = list(session.scalars(statement))
        if len(rows) < self.buckets:
            _add_missing_leases(session, self.buckets)
            rows = list(session.scalars(statement))
        return rows


def require_held(session: Session, epochs: Mapping[int, int]) -> None:
    """Raise LeaseLost unless each bucket is still at this epoch."""
    if not epochs:
        return
    asked = or_(*((LeaseRow.bucket == bucket) & (LeaseRow.epoch == epoch) for bucket, epoch in epochs.items()))
    held = set(session.scalars(select(LeaseRow.bucket).where(asked)))
    if lost := sorted(epochs.keys() - held):
        raise LeaseLost(f"the buckets {', '.join(map(str, lost))} are in other hands")


def _add_missing_leases(session: Session, buckets: int) -> None:
    """Add missing leases. Rows published in bulk before any shard worked count as done: a backfill embeds them."""
    now = database_now(session)
    published = dict(session.execute(select(BucketRow.bucket, BucketRow.published)).all())
    rows = []
    for bucket in range(buckets):
        done = published.get(bucket, 0)
        rows.append({"bucket": bucket, "epoch": 0, "expires_at": now, "applied": done, "applied_lazily": done})
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    session.execute(dialect.insert(LeaseRow).on_conflict_do_nothing(), rows)  # two shards may start at once
