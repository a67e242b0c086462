"""Runs of `portrait` as a process of its own, many times over.

Importing Feast takes seconds, so the processes are forked from a server that has imported the heavy modules once.
What a command does, prints and returns is the real thing: file descriptors, exit status and all.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.forks import FORKS

PROGRAM = Path(sys.executable).with_name("portrait")
SECONDS = 300


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it has to be."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


class Commands:
    """Runs commands in a home."""

    def __init__(self, folder: Path, home: Path, prepare: Callable[[], None] | None = None) -> None:
        """`prepare`, a function of a module, is called first in each forked process."""
        self._folder = folder
        self.home = home
        self._prepare = prepare

    def __call__(self, *arguments: object, **variables: str) -> Finished:
        """Run a command with these environment variables, forked from the server."""
        process = self.start(*arguments, **variables)
        process.join(SECONDS)
        assert process.exitcode is not None, f"portrait {' '.join(map(str, arguments))} hangs"
        return Finished(process.exitcode, self._printed("out"), self._printed("err"))

    def start(self, *arguments: object, **variables: str) -> BaseProcess:
        """Begin a command and leave it running."""
        given = [str(argument) for argument in arguments]
        process = FORKS.Process(target=_run, args=(given, self.environment(variables), self._folder, self._prepare))
        process.start()
        return process

    def process(self, *arguments: object, **variables: str) -> Finished:
        """Run a command from nothing, as a shell does."""
        command = [PROGRAM, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment(variables), timeout=SECONDS)
        return Finished(done.returncode, done.stdout, done.stderr)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment of a command: this home with its embedded stores, wide lines, no colours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTRAIT_")}
        fixed = {"PORTRAIT_HOME": str(self.home), "PORTRAIT_ACTOR": "ann", "COLUMNS": "300", "NO_COLOR": "1"}
        return {**kept, **fixed, **variables}

    def _printed(self, name: str) -> str:
        return (self._folder / name).read_text()


def _run(arguments: list[str], environment: dict[str, str], folder: Path, prepare: Callable[[], None] | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for name, descriptor in (("out", 1), ("err", 2)):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["portrait", *arguments]
    from portrait.infra.cli.main import main

    if prepare is not None:
        prepare()
    main()
