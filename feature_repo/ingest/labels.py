"""Labels files (`user_id`, `event_time` optional, label columns): staged, judged row by row, and cut into buckets.

Label columns stay as they are. A bad row is left out alone, and kept with its number and a reason.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from portrait.feature_repo.ingest.cells import EARLIEST, is_given, require_ids, text_cell, text_fault, time_cell
from portrait.feature_repo.ingest.event_files import is_future
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.duck import Duck, name, scalar, text
from portrait.feature_repo.log.forgotten import REASON, Tombstones
from portrait.feature_repo.log.partition import bucket_sql
from portrait.feature_repo.schemas import microseconds
from portrait.registry.errors import InvalidInput

NEEDED = ("user_id",)
EVENT_TIME = "event_time"
RESERVED = frozenset({"as_of", "vector"})
"""Columns that a training set adds to the label columns."""

ROWS_AT_ONCE = 100_000
_GRID = re.compile(r"(\d{1,6})([dh])")
_UNIT = {"d": 86_400_000_000, "h": 3_600_000_000}


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the rows; `read == kept + dropped + rejected`."""

    read: int
    kept: int
    dropped: int  # good rows as of a time before `not_before`, when these are left out
    early: int  # kept or dropped: as of a time before `not_before`


def grid_of(text: str) -> int:
    """A grid such as `1d`, `12h` or `0` in microseconds; raises InvalidInput."""
    found = _GRID.fullmatch(text)
    if text != "0" and (found is None or not int(found[1])):
        raise InvalidInput(
            f"--grid {text!r}: write days or hours, 1d or 6h for instance, or 0 for the labels' own times"
        )
    return int(found[1]) * _UNIT[found[2]] if found else 0


class Labels:
    """A labels file in DuckDB's table `staged_labels`."""

    def __init__(self, duck: Duck, source: Source, grid: int, default_as_of: datetime, now: datetime) -> None:
        """Stage and judge the rows: times are rounded down to the grid (microseconds, 0 for none).

        A file without times means `default_as_of`; times after `now` are rejected. Raises InvalidInput for a column of
        an unfit name or type.
        """
        self._duck = duck
        self._source = source
        self.columns = [column for column in source.columns if column not in (*NEEDED, EVENT_TIME)]
        for column in self.columns:
            if column.lower() in RESERVED:
                raise InvalidInput(f"column `{column}` of {source.shown} has a name that Portrait uses: rename it")
        require_ids(duck, source, NEEDED)
        self._timed = EVENT_TIME in source.columns
        self._stage(grid, microseconds(default_as_of), now)

    def _stage(self, grid: int, default_as_of: int, now: datetime) -> None:
        source = self._source
        # Rounded down, also before 1970; a file without times means the version's own.
        moment = "epoch_us(event_time)"
        as_of = f"{moment} - (({moment} % {grid}) + {grid}) % {grid}" if grid else moment
        cells = "".join(f", {source.cell(column)}" for column in self.columns)
        self._duck.execute(f"""
            CREATE TABLE staged_labels AS
            SELECT *, CASE WHEN reason IS NULL THEN {as_of if self._timed else default_as_of} END AS as_of FROM (
                SELECT *, CASE WHEN user_id IS NOT NULL THEN {bucket_sql("user_id")} END AS bucket,
                       {self._reason(now)} AS reason FROM (
                    SELECT row, {text_cell(source, "user_id")} AS user_id,
                           {time_cell(source, EVENT_TIME)} AS event_time,
                           {is_given(source, EVENT_TIME)} AS time_given,
                           {text_fault(source, "user_id")} AS user_fault{cells} FROM {source.rows}))""")

    def _reason(self, now: datetime) -> str:
        times = f"""
            WHEN NOT time_given THEN 'event_time is null or empty'
            WHEN event_time IS NULL THEN 'event_time is not a time'
            WHEN event_time < {EARLIEST} THEN 'event_time lies before 1900'
            WHEN {is_future("event_time", now)} THEN 'event_time lies in the future'"""
        return f"""CASE WHEN user_fault IS NOT NULL THEN user_fault
            WHEN user_id IS NULL THEN 'user_id is null or empty' {times if self._timed else ""} END"""

    @property
    def rejected(self) -> str:
        """A relation (row, reason) of the rows that cannot be used."""
        return "(SELECT row, reason FROM staged_labels WHERE reason IS NOT NULL)"

    def refuse_forgotten(self, forgotten: Tombstones) -> None:
        """Reject the rows of forgotten users with that reason, whatever else is wrong with them."""
        if not forgotten:
            return
        users = self._duck.execute("SELECT DISTINCT user_id FROM staged_labels WHERE user_id IS NOT NULL").fetchall()
        if refused := sorted(forgotten.among(user for (user,) in users)):
            update = f"UPDATE staged_labels SET reason = '{REASON}' WHERE list_contains(?, user_id)"
            self._duck.execute(update, [refused])

    def keep(self, not_before: datetime, drop_early: bool) -> LabelCounts:
        """Count, and with `drop_early` leave out, good rows as of a time before `not_before`."""
        first = microseconds(not_before)
        early = scalar(self._duck, f"SELECT count(*) FROM staged_labels WHERE reason IS NULL AND as_of < {first}")
        if drop_early:
            self._duck.execute(f"DELETE FROM staged_labels WHERE reason IS NULL AND as_of < {first}")
        kept, staged = self._duck.execute(
            "SELECT count(*) FILTER (reason IS NULL), count(*) FROM staged_labels"
        ).fetchall()[0]
        malformed = scalar(self._duck, f"SELECT count(*) FROM {self._source.malformed}")
        dropped = early if drop_early else 0
        return LabelCounts(staged + dropped + malformed, kept, dropped, early)

    def as_of_at_most(self, moment: datetime) -> int:
        """How many good rows are as of this time or an earlier one."""
        query = "SELECT count(*) FROM staged_labels WHERE reason IS NULL AND as_of <= "
        return scalar(self._duck, f"{query}{microseconds(moment)}")

    def stamp(self) -> str:
        """A digest of users, labels and times: 16 hexadecimal digits.

        The order of the rows and the format of the file do not change it.
        """
        cells = "".join(f", {self._source.cell(column)}::VARCHAR" for column in self.columns)
        query = f"SELECT md5(to_json([user_id, as_of::VARCHAR{cells}])::VARCHAR) AS row_digest"
        reader = self._duck.execute(
            f"{query} FROM staged_labels WHERE reason IS NULL ORDER BY row_digest"
        ).to_arrow_reader(ROWS_AT_ONCE)
        digest = hashlib.sha256("\x1f".join(self.columns).encode())
        for batch in reader:
            digest.update("".join(batch.column(0).to_pylist()).encode())
        return digest.hexdigest()[:16]

    def times(self) -> list[int]:
        """The distinct as-of times of good rows in microseconds, ascending."""
        query = "SELECT DISTINCT as_of FROM staged_labels WHERE reason IS NULL ORDER BY as_of"
        found: list[int] = self._duck.execute(query).to_arrow_table()["as_of"].to_pylist()
        return found

    def write(self, folder: Path) -> dict[int, int]:
        """Write the good rows, a Parquet file `NN.parquet` a bucket; returns the rows of each bucket.

        Columns: user_id, event_time where the file has it, the label columns, as_of (int64 microseconds); in the
        file's order.
        """
        counted = self._duck.execute(
            "SELECT bucket, count(*) FROM staged_labels WHERE reason IS NULL GROUP BY bucket ORDER BY bucket"
        ).fetchall()
        time = f", {EVENT_TIME}" if self._timed else ""
        cells = "".join(f", {self._source.cell(column)} AS {name(column)}" for column in self.columns)
        # Qualified: a label column may be called like one of ours.
        good = f"SELECT user_id{time}{cells}, as_of FROM staged_labels s WHERE s.reason IS NULL"
        for bucket, _ in counted:
            path = text(str(label_file(folder, bucket)))
            self._duck.execute(f"COPY ({good} AND s.bucket = {bucket} ORDER BY s.row) TO {path} (FORMAT parquet)")
        return dict(counted)


def label_file(folder: Path, bucket: int) -> Path:
    """Path of the file with the labels of a bucket."""
    return folder / f"{bucket:02d}.parquet"
