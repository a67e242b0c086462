"""The log of a study: one CSV row a finished run, which a killed writer cannot spoil."""

import csv
import fcntl
import io
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from portrait.registry.errors import InvalidInput
from portrait.training.scaling.setting import Setting


@dataclass(frozen=True)
class Run:
    """A finished run. A diverged one is kept, with a loss that is not finite."""

    name: str  # of its setting
    size: str
    parameters: int  # without embeddings
    users: int
    sequence_length: int
    batch: int
    steps: int
    seed: int
    tokens: int  # that the model has read while training
    flops: float  # of training
    train_loss: float  # nats
    loss: float  # nats, held-out InfoNCE over the fixed candidates
    downstream: float | None  # score of a frozen head on held-out users, higher is better; None: not measured
    seconds: float
    epochs: float  # passes over the users
    finished_at: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        for field in ("parameters", "users", "sequence_length", "batch", "steps", "tokens", "flops"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput(f"run {self.name}: {field} is {value}; it must be positive")
        for field in ("name", "size", "finished_at"):
            if not getattr(self, field).isprintable():
                raise InvalidInput(f"run {self.name!r}: {field} must be one line of text")
        if self.name != self.setting.name:
            raise InvalidInput(f"run {self.name}: its settings make the name {self.setting.name}")

    @property
    def setting(self) -> Setting:
        """The setting that was trained."""
        return Setting(self.size, self.users, self.sequence_length, self.batch, self.steps, self.seed)


COLUMNS = tuple(field.name for field in fields(Run))
_KINDS: dict[str, type] = {"name": str, "size": str, "finished_at": str} | dict.fromkeys(
    ("parameters", "users", "sequence_length", "batch", "steps", "seed", "tokens"), int
)


class RunLog:
    """The CSV file of runs. Rows are only added; readers skip an unfinished last line, the next writer cuts it off."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, run: Run) -> None:
        """Add a row and wait until the disk has it; raises InvalidInput when the run is there already."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # threads of one driver may finish together
            file.seek(0)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if run.name in (known.name for known in self._parsed(whole)):
                raise InvalidInput(f"{self.path}: run {run.name} is there already")
            if len(whole) < len(content):
                file.truncate(len(whole))
            rows = [_cells(run)] if whole else [list(COLUMNS), _cells(run)]
            file.write(_text(rows))
            os.fsync(file.fileno())

    def read(self) -> list[Run]:
        """All runs in the order of their end; none when there is no file.

        Raises InvalidInput, naming the file and the column, for a header or a cell that is not ours.
        """
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        return self._parsed(content[: content.rfind(b"\n") + 1])

    def finished(self) -> frozenset[str]:
        """Names of the runs in the log."""
        return frozenset(run.name for run in self.read())

    def _parsed(self, content: bytes) -> list[Run]:
        if not content:
            return []
        rows = csv.reader(io.StringIO(content.decode(), newline=""))
        header = next(rows)
        self._check(header)
        runs: dict[str, Run] = {}
        for row in rows:
            run = self._run(header, row, rows.line_num)
            if run.name in runs:
                raise InvalidInput(f"{self.path}, line {rows.line_num}: run {run.name} is there twice; delete one row")
            runs[run.name] = run
        return list(runs.values())

    def _check(self, header: list[str]) -> None:
        for column in COLUMNS:
            if column not in header:
                raise InvalidInput(f"{self.path}: the column {column!r} is missing; a log of runs has all of {COLUMNS}")
        for column in header:
            if column not in COLUMNS or header.count(column) > 1:
                raise InvalidInput(f"{self.path}: the column {column!r} is unknown or there twice; delete it")

    def _run(self, header: list[str], row: list[str], line: int) -> Run:
        if len(row) != len(header):
            raise InvalidInput(f"{self.path}, line {line}: {len(row)} cells, the header has {len(header)}")
        values: dict[str, str | int | float | None] = {}
        for column, cell in zip(header, row, strict=True):
            kind = _KINDS.get(column, float)
            try:
                values[column] = None if column == "downstream" and not cell else kind(cell)
            except ValueError as error:
                raise InvalidInput(f"{self.path}, line {line}: {column} is {cell!r}, not {kind.__name__}") from error
        try:
            return Run(**values)  # type: ignore[arg-type]
        except InvalidInput as error:
            raise InvalidInput(f"{self.path}, line {line}: {error}") from error


def _cells(run: Run) -> list[str]:
    return ["" if value is None else str(value) for value in asdict(run).values()]


def _text(rows: list[list[str]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
