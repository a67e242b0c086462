"""The folder of a study in the home: its basis, the prepared data, the log of runs, the report."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from portrait.feature_repo.log.durable_files import write_whole
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.progress import Progress
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.prepare import PreparedSequences, prepare
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.scaling.runs import RunLog

STUDIES = "studies"
HELD_OUT = 0.3  # of the users at most: a small instance, too, should have enough candidates to separate runs
GRID_SETS = ("size", "batch_size", "sequence_length", "most_users", "epochs", "epoch_steps", "seed")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Basis:
    """The data and config that all runs of a study share; losses of other studies do not compare."""

    snapshot: str  # its id
    users: int  # of the snapshot
    as_of: datetime
    config: ClueConfig  # GRID_SETS of it mean nothing
    items: int | None = None  # position of the newest row of the catalogue; None: the study is older than this field


class StudyFolder:
    """`<home>/studies/<name>`; raises InvalidInput for a name that is no plain word."""

    def __init__(self, home: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"--name {name!r}: a study's name is of small letters, digits, - and _")
        self.name = name
        self.path = home / STUDIES / name
        self.log = RunLog(self.path / "runs.csv")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else trains or reports this study inside the block; raises Conflict if somebody does now."""
        try:
            lock = FileLock(self.path / "lock", blocking=False).acquire()
        except Timeout:
            raise Conflict(f"another process is at study {self.name}: wait for it, or choose a --name") from None
        with lock:
            yield

    @property
    def basis(self) -> Basis | None:
        """The basis that the study was begun with; None before that."""
        path = self.path / "study.json"
        if not path.exists():
            return None
        document = json.loads(path.read_text())
        as_of, config = datetime.fromisoformat(document["as_of"]), ClueConfig(**document["config"])
        return Basis(document["snapshot"], document["users"], as_of, config, document.get("items"))

    def begin(self, basis: Basis) -> None:
        """Store the basis, before the first run."""
        document = {**asdict(basis), "as_of": basis.as_of.isoformat()}
        write_whole(self.path / "study.json", json.dumps(document, indent=1) + "\n")

    def commands(self, newest: str, trains: bool) -> tuple[str, ...]:
        """The shell lines that make the study again: those that trained anything, and the newest; each once."""
        path = self.path / "commands.txt"
        known = path.read_text().splitlines() if path.exists() else []
        lines = dict.fromkeys([*known, newest])
        if trains and newest not in known:
            path.write_text("\n".join(lines) + "\n")
        return tuple(lines)

    def prepared(self, longest: int = 1) -> Path | None:
        """The prepared data with sequences of at least this length; None when there are none yet."""
        folders = [path for path in self.path.glob("prepared-*") if PreparedSequences.is_whole(path)]
        made = {int(path.name.rpartition("-")[2]): path for path in folders}
        return min(((length, path) for length, path in made.items() if length >= longest), default=(0, None))[1]

    def prepare(self, inputs: TrainingInputs, config: ClueConfig, progress: Progress) -> Path:
        """Prepare the data with the config's sequence length, and remove those that were there."""
        scratch, final = self.path / "preparing", self.path / f"prepared-{config.sequence_length}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        prepare(inputs, config, scratch, progress)
        for folder in self.path.glob("prepared-*"):
            shutil.rmtree(folder)
        return scratch.rename(final)
