"""The reconciler of a gateway: it lets Feast follow the registry and ends retirements that were cut short."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from portrait.registry.errors import PortraitError, Unavailable

log = logging.getLogger(__name__)


class Reconciler:
    """Runs work in one thread, and checks every few seconds whether Feast is behind or a retirement was interrupted.

    A process that changes the registry lets Feast follow at once; the reconciler serves those that were killed in
    between, and changes over HTTP. It tries again while Feast stays behind; no answer depends on that.
    """

    def __init__(self, behind: Callable[[], int], reconcile: Callable[[], object], seconds: float) -> None:
        self.reconcile = reconcile
        self.resume: Callable[[], object] = lambda: None  # goes on with retirements; called at every check
        self._behind = behind
        self._seconds = seconds
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="reconcile")
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="reconciler", daemon=True)

    def later(self, work: Callable[[], object]) -> "Future[None]":
        """Run work after all that was submitted before; a failure is logged."""
        return self._worker.submit(_run_and_log, work)

    def start(self) -> None:
        """Start the thread that checks every few seconds."""
        self._watcher.start()

    def stop(self) -> None:
        """Stop checking, without waiting for running work: it may be killed anywhere."""
        self._stopped.set()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _watch(self) -> None:
        seen = 0
        while not self._stopped.wait(self._seconds):
            try:
                behind = self._behind()
            except PortraitError:
                continue  # the poller of the assignments logs that the registry is away
            # Only when behind twice in a row: at first the process that made the change is probably applying it.
            work = [self.reconcile, self.resume] if behind and seen else [self.resume]
            seen = behind
            with suppress(RuntimeError, CancelledError):  # stopped meanwhile
                wait([self.later(one) for one in work])


def reconcile_elsewhere(settings: Any) -> None:
    """Apply in another process, as applying changes directory and environment; raises Unavailable when it fails."""
    from portrait.feature_repo.store.reconcile_process import reconcile_in_process_of_its_own

    done = reconcile_in_process_of_its_own(settings)
    if done.returncode:
        raise Unavailable(done.stderr.strip() or f"applying ended with status {done.returncode}")


def _run_and_log(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:
        log.warning("%s", error)
