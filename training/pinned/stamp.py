"""The stamp of a training set in its Parquet metadata, and the reader of sets that belong together."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.registry.errors import FingerprintMismatch, InvalidInput, first_line
from portrait.training.encoding.arrays import Float32, Int64

PREFIX = "portrait."


@dataclass(frozen=True)
class Stamp:
    """The origin of a training set."""

    version: str
    fingerprint: str
    consumer: str
    grid: str
    data_stamp: str  # digest of users, labels and times; equal labels at two versions have equal ones

    def metadata(self) -> dict[str, str]:
        """Keys and values for the file: `portrait.version` and so on."""
        return {PREFIX + name: value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class TrainingSet:
    """One or several sets of one version, read for one label column; rows without a label are left out."""

    stamp: Stamp
    users: list[str]
    vectors: Float32  # [n, d]
    labels: list[str]  # as text
    as_of: Int64  # [n] microseconds
    unlabelled: int

    def without(self, gone: Collection[str]) -> Self:
        """The set without the rows of these users; its data stamp is then another one, as labels are missing."""
        if not gone:
            return self
        rows = np.flatnonzero([user not in gone for user in self.users])
        users = [self.users[row] for row in rows]
        left = "\n".join([self.stamp.data_stamp, *sorted(set(users))])
        return replace(
            self,
            stamp=replace(self.stamp, data_stamp=hashlib.sha256(left.encode()).hexdigest()[:16]),
            users=users,
            vectors=self.vectors[rows],
            labels=[self.labels[row] for row in rows],
            as_of=self.as_of[rows],
        )


def read_stamp(path: Path) -> Stamp:
    """The stamp of a file; raises InvalidInput when it is no training set."""
    try:
        metadata = {k.decode(): v.decode() for k, v in (pq.read_schema(path).metadata or {}).items()}
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{path} is no Parquet file that can be read: {first_line(error)}") from error
    fields = {name: metadata.get(PREFIX + name) for name in Stamp.__dataclass_fields__}
    if None in fields.values():
        raise InvalidInput(
            f"{path} is no training set: make one with `portrait dataset CONSUMER --labels F --out {path}`"
        )
    return Stamp(**{name: value or "" for name, value in fields.items()})


def read_sets(paths: Sequence[Path], label: str) -> TrainingSet:
    """All rows of the files with a label.

    Raises FingerprintMismatch, with both, for sets of two versions, InvalidInput for a file that is no training set or
    has no such label column, or when no row has a label.
    """
    stamps = [read_stamp(path) for path in paths]
    for path, stamp in zip(paths, stamps, strict=True):
        if stamp.fingerprint != stamps[0].fingerprint:
            raise FingerprintMismatch(
                f"{paths[0]} holds vectors of {stamps[0].version} with fingerprint {stamps[0].fingerprint}, {path} of "
                f"{stamp.version} with {stamp.fingerprint}: a head learns from one version, make both sets at the same"
            )
    # Labels are text before they are put together: one file may be CSV's, another Parquet's.
    whole = pa.concat_tables(_read_rows(path, label) for path in paths)
    rows = whole.num_rows
    if whole["label"].null_count:
        whole = whole.filter(pc.is_valid(whole["label"]))
    if not whole.num_rows:
        raise InvalidInput(f"no row of {', '.join(map(str, paths))} has a value in `{label}`")
    return TrainingSet(
        stamp=replace(stamps[0], data_stamp=_join_data_stamps(stamps)),
        users=whole["user_id"].to_pylist(),
        vectors=_matrix(whole["vector"]),
        labels=whole["label"].to_pylist(),
        as_of=whole["as_of"].cast(pa.int64()).to_numpy(),
        unlabelled=rows - whole.num_rows,
    )


def _matrix(vectors: pa.ChunkedArray) -> Float32:
    """float32 [n, d], copied once."""
    found = np.empty((len(vectors), vectors.type.list_size), dtype=np.float32)
    start = 0
    for chunk in vectors.chunks:
        found[start : start + len(chunk)] = chunk.flatten().to_numpy().reshape(len(chunk), -1)
        start += len(chunk)
    return found


def _read_rows(path: Path, label: str) -> pa.Table:
    names = pq.read_schema(path).names
    known = [name for name in names if name not in ("user_id", "event_time", "as_of", "vector")]
    if label not in known:
        raise InvalidInput(f"{path} has no label column `{label}`; it has: {', '.join(known) or 'none'}")
    table = pq.read_table(path, columns=["user_id", "as_of", "vector", label], partitioning=None)
    return table.rename_columns(["user_id", "as_of", "vector", "label"]).set_column(3, "label", _as_text(table[label]))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):  # NaN is how pandas writes a missing number
        column = pc.if_else(pc.is_nan(column), None, column)
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowNotImplementedError as error:
        raise InvalidInput(f"labels are text, numbers or bools, not {column.type}") from error


def _join_data_stamps(stamps: Sequence[Stamp]) -> str:
    """The data stamp of several sets together, in whatever order they are named."""
    if len(stamps) == 1:
        return stamps[0].data_stamp
    return hashlib.sha256("\n".join(sorted(s.data_stamp for s in stamps)).encode()).hexdigest()[:16]
