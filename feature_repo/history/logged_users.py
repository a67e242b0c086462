"""Logged users: who has rows in the log up to a position, by bucket, as hashes in memory."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import select

from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.tables import InboxRow, SegmentRow
from portrait.registry.errors import Unavailable


class LoggedUsers:
    """Tells a new user from one whose rows are gone from the online store, at 8 bytes a user.

    A bucket is read when it is first asked for; who comes after is added by `note`.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._read: dict[int, tuple[int, NDArray[np.uint64]]] = {}  # epoch, sorted hashes
        self._noted: dict[int, set[int]] = {}

    def among(self, user_ids: Sequence[str], epochs: Mapping[int, int], applied: Mapping[int, int]) -> list[str]:
        """Those of the users who have rows up to the applied position of their bucket, or were noted since.

        Now and then also one whose rows lie just behind it. Buckets that are not in `applied` are left out. Raises
        Unavailable while the log is being rewritten.
        """
        hashes = _hashes(user_ids).tolist()
        return [
            user
            for user, hashed in zip(user_ids, hashes, strict=True)
            if (bucket := bucket_of(user)) in applied and self._has(bucket, hashed, epochs[bucket], applied[bucket])
        ]

    def note(self, user_ids: Sequence[str]) -> None:
        """Add users whose rows have been applied."""
        for user, hashed in zip(user_ids, _hashes(user_ids).tolist(), strict=True):
            if (bucket := bucket_of(user)) in self._read:
                self._noted[bucket].add(hashed)

    def _has(self, bucket: int, hashed: int, epoch: int, applied: int) -> bool:
        if self._read.get(bucket, (None,))[0] != epoch:  # another holder may have applied rows meanwhile
            self._read[bucket], self._noted[bucket] = (epoch, self._users(bucket, applied)), set()
        known = self._read[bucket][1]
        at = int(np.searchsorted(known, np.uint64(hashed)))
        return hashed in self._noted[bucket] or (at < len(known) and int(known[at]) == hashed)

    def _users(self, bucket: int, applied: int) -> NDArray[np.uint64]:
        with self._log.database.reading() as session:
            within = (SegmentRow.bucket == bucket) & (SegmentRow.first_position <= applied)
            paths = list(session.scalars(select(SegmentRow.path).where(within)))
            waiting = (InboxRow.bucket == bucket) & (InboxRow.position <= applied)
            arrived = list(session.scalars(select(InboxRow.user_id).where(waiting).distinct()))
        try:
            columns = [pq.read_table(self._log.home / path, columns=["user_id"])["user_id"] for path in paths]
        except FileNotFoundError as error:
            raise Unavailable("the log is being written anew, as somebody is forgotten: try again") from error
        parts = [_hashes(column.unique().to_pylist()) for column in columns]
        return np.unique(np.concatenate([*parts, _hashes([user for user in arrived if user is not None])]))


def _hashes(user_ids: Sequence[str]) -> NDArray[np.uint64]:
    hashed: NDArray[np.uint64] = pd.util.hash_array(np.array(user_ids, dtype=object))
    return hashed
