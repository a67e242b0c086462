"""Steps of actors, one at a time: each runs until it ends, or until it is paused at a seam and resumed later."""

from collections.abc import Callable
from threading import Lock, Thread

Work = Callable[[], object]


class Killed(BaseException):
    """The end of a process in the middle of a step; not an Exception, so that no code of ours outlives its kill."""


class _Worker:
    """A thread that runs one step after the other; the baton goes to and fro, so only one thread ever runs."""

    def __init__(self) -> None:
        self.go, self.back = Lock(), Lock()
        self.go.acquire()
        self.back.acquire()
        self.work: Work | None = None
        Thread(target=self._run, name="simulated", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            assert self.work is not None
            self.work()
            self.back.release()


class Step:
    """A step under way: whose it is, and whether it was killed."""

    def __init__(self, owner: str, work: Work, seams: int | None) -> None:
        self.owner = owner
        self.seams_left = seams  # before the step is paused; None: it is not
        self.killed = False
        self.done = False
        self.raised: BaseException | None = None
        self._work = work
        self.worker: _Worker | None = None

    def __call__(self) -> None:
        try:
            self._work()
        except Killed:
            pass
        except BaseException as error:  # told to the schedule, in its thread
            self.raised = error
        self.done = True


class Steps:
    """The steps under way, by actor. A step that is not to be paused needs no thread."""

    def __init__(self) -> None:
        self.now: Step | None = None
        self.atomic = 0  # depth of transactions: nobody is paused inside of one
        self.paused: dict[str, Step] = {}
        self._idle: list[_Worker] = []

    def begin(self, actor: str, owner: str, work: Work, seams: int | None = None) -> Step:
        """Run a step of an actor that has none, until it ends or has passed so many seams.

        Without a number of seams it is never paused, and may not `wait`.
        """
        step = Step(owner, work, seams)
        if seams is None:
            before, self.now = self.now, step
            step()
            self.now = before
        else:
            step.worker = self._idle.pop() if self._idle else _Worker()
            step.worker.work = step
            self._hand_over(step)
        return self._end(actor, step)

    def resume(self, actor: str, seams: int = 10**9) -> Step:
        """Go on with the paused step of an actor, until it ends or has passed so many seams."""
        step = self.paused.pop(actor)
        step.seams_left = seams
        self._hand_over(step)
        return self._end(actor, step)

    def kill(self, owner: str) -> None:
        """End the paused steps of a process where they are."""
        for actor in [actor for actor, step in self.paused.items() if step.owner == owner]:
            self.paused[actor].killed = True
            self.resume(actor)

    def seam(self) -> None:
        """A point at which the step may be paused; raises Killed where its process has ended meanwhile."""
        step = self.now
        if step is None:
            return
        if step.killed:
            raise Killed
        if self.atomic or step.worker is None or step.seams_left is None:
            return
        step.seams_left -= 1
        if step.seams_left < 0:
            self.wait()

    def wait(self) -> None:
        """Pause the running step here; it must have been begun with a number of seams."""
        step = self.now
        assert step is not None and step.worker is not None
        worker = step.worker
        worker.back.release()
        worker.go.acquire()
        if step.killed:
            raise Killed

    def _hand_over(self, step: Step) -> None:
        before, self.now = self.now, step
        assert step.worker is not None
        step.worker.go.release()
        step.worker.back.acquire()
        self.now = before

    def _end(self, actor: str, step: Step) -> Step:
        if not step.done:
            self.paused[actor] = step
            return step
        if step.worker is not None:
            self._idle.append(step.worker)
        if step.raised is not None:
            raise step.raised
        return step
