"""A server under measurement: its address, and the processor time that it takes."""

from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Server:
    """A URL and the processes behind it.

    Requests a second tell about the whole machine, load generator and neighbours included; processor time of the
    server's own processes is the same whoever else is busy.
    """

    url: str
    roots: tuple[Any, ...]  # psutil.Process; their descendants count too

    def cpu_seconds(self) -> float:
        """Processor time that its living processes have used so far."""
        return sum(_seconds(process) for root in self.roots for process in (root, *_descendants(root)))


def children_of_this_process() -> tuple[Any, ...]:
    """The direct child processes of this process (psutil.Process)."""
    return tuple(psutil.Process().children())


def process(pid: int) -> Any:
    return psutil.Process(pid)


def _descendants(root: Any) -> list[Any]:
    try:
        found: list[Any] = root.children(recursive=True)
    except psutil.Error:
        return []
    return found


def _seconds(one: Any) -> float:
    try:
        times = one.cpu_times()
    except psutil.Error:  # it has ended meanwhile
        return 0.0
    return float(times.user + times.system)
