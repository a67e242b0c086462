"""One bucket of a snapshot: folded and written as two Parquet files. Runs here or in a Ray task, the same."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from feature_repo.log.duck import THREADS, connect
from feature_repo.log.fold import FoldInput, fold
from feature_repo.log.segments import sync
from feature_repo.log.staging import spill_folder
from feature_repo.log.stored_snapshot import HISTORY_FOLDER, PROFILE_FOLDER, file_name

ROW_GROUP = 4096
"""Users a row group: a history of 256 events in three services is large, and readers take row groups whole."""


@dataclass(frozen=True)
class BucketTask:
    """What it takes to write one bucket of a snapshot below the folder `into`."""

    bucket: int
    given: FoldInput
    into: Path
    memory: str
    threads: int = THREADS


@dataclass(frozen=True)
class BucketCut:
    """What a written bucket holds."""

    bucket: int
    users: int
    events: int
    oldest: datetime | None


CutBuckets = Callable[[Iterable[BucketTask]], Iterator[BucketCut]]


def cut_bucket(task: BucketTask) -> BucketCut:
    """Fold the bucket and write its files."""
    with spill_folder(task.given.home) as spill, connect(task.memory, spill, task.threads) as duck:
        folded = fold(duck, task.given)
    for folder, table in ((HISTORY_FOLDER, folded.histories), (PROFILE_FOLDER, folded.profiles)):
        path = task.into / folder / file_name(task.bucket)
        pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)
        sync(path)
    return BucketCut(task.bucket, folded.histories.num_rows, folded.events, folded.oldest)


def cut_in_process(tasks: Iterable[BucketTask]) -> Iterator[BucketCut]:
    """One bucket after the other: for logs so small that Ray's start costs more than it saves."""
    return map(cut_bucket, tasks)
