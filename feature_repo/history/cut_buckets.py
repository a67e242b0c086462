"""Some buckets of a snapshot, folded at once and written as two files each; the same here and in a Ray task."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.history.fold import FoldInput, fold
from portrait.feature_repo.history.snapshot import HISTORY_FOLDER, PROFILE_FOLDER, file_name
from portrait.feature_repo.log.duck import THREADS, connect, enough_memory
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.segments import sync
from portrait.feature_repo.log.staging import spill_folder

ROW_GROUP = 4096
"""Users a row group: a history of 256 events in three services is large, and readers take row groups whole."""


@dataclass(frozen=True)
class CutTask:
    """What it takes to write some buckets of a snapshot below the folder `into`."""

    buckets: tuple[int, ...]
    given: FoldInput
    into: Path
    memory: str
    threads: int = THREADS


@dataclass(frozen=True)
class BucketsCut:
    """What the written buckets hold."""

    users: dict[int, int]  # by bucket
    events: int
    oldest: datetime | None


def cut_buckets(task: CutTask) -> BucketsCut:
    """Fold the buckets and write their files."""
    with (
        enough_memory(task.memory),
        spill_folder(task.given.home) as spill,
        connect(task.memory, spill, task.threads) as duck,
    ):
        folded = fold(duck, task.given)
    for folder, table in ((HISTORY_FOLDER, folded.histories), (PROFILE_FOLDER, folded.profiles)):
        for bucket, rows in _by_bucket(table, task.buckets):
            path = task.into / folder / file_name(bucket)
            pq.write_table(rows, path, compression="zstd", row_group_size=ROW_GROUP)
            sync(path)
    users = {bucket: rows.num_rows for bucket, rows in _by_bucket(folded.histories.select(["user_id"]), task.buckets)}
    return BucketsCut(users, folded.events, folded.oldest)


def cut_in_process(tasks: Iterable[CutTask]) -> Iterator[BucketsCut]:
    """One task after the other: for logs so small that Ray's start costs more than it saves."""
    return map(cut_buckets, tasks)


def _by_bucket(table: pa.Table, buckets: tuple[int, ...]) -> Iterator[tuple[int, pa.Table]]:
    if len(buckets) == 1:
        yield buckets[0], table
        return
    of_row = np.fromiter(map(bucket_of, table["user_id"].to_pylist()), np.int64, table.num_rows)
    for bucket in buckets:
        yield bucket, table.filter(pa.array(of_row == bucket))
