"""One schedule: steps in an order that the seed decides, then rest, then the comparison with the reference."""

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from tests.simulation.chance import Chance
from tests.simulation.checks import Checks, Violation, listen
from tests.simulation.instance import BUCKETS, VERSIONS
from tests.simulation.ledger import event
from tests.simulation.processes import GatewayProcess, Process
from tests.simulation.sql import MemoryServer
from tests.simulation.steps import Steps
from tests.simulation.world import World

STEPS = 14
ROUNDS = 70
REST_SECONDS = 0.4
"""Rounds after which all must be at rest."""

PAUSED, RESUMED = 0.35, 0.3
"""Shares of steps that are paused somewhere, and of moments at which a paused one goes on."""

Action = Callable[[], object]


@dataclass(frozen=True)
class Outcome:
    """What came of a schedule."""

    seed: int
    reached: Counter[str]
    check: str | None = None  # that failed
    problem: str | None = None
    steps: int = 0

    @property
    def good(self) -> bool:
        return self.check is None


class Schedule:
    """A schedule under way."""

    def __init__(self, chance: Chance) -> None:
        self.chance = chance
        self.steps = _steps()
        self.world = World(chance, _server(), self.steps)
        self.checks = Checks(self.world)
        self.taken = 0

    def run(self) -> None:
        """All of it; raises Violation."""
        try:
            if self.chance.of(0.7):
                self._prelude()
            for _ in range(STEPS):
                self._one()
            self._rest()
        finally:
            for step in list(self.steps.paused.values()):
                self.steps.kill(step.owner)

    def _prelude(self) -> None:
        """Some rows that are online before anything happens; now and then so long ago that they are settled."""
        world, shard = self.world, self.world.shards["shard-a"]
        self._calm(True)
        world.deliver()
        rounds = [shard.work, shard.renew, partial(world.send, list(world.ledger.waiting)), shard.work, shard.renew]
        if settled := self.chance.of(0.5):
            rounds += [shard.work, shard.work, shard.renew]
        for number, work in enumerate(rounds):
            world.clock.now += 10.5 if number > 4 else 0.4
            self.steps.begin("prelude", shard.name, work)
        self._calm(False)
        self._say("rows are online" + ", and settled" * settled)

    def _calm(self, calm: bool) -> None:
        for process in self.world.processes:
            process.wire.calm = calm

    def _one(self) -> None:
        world, chance = self.world, self.chance
        world.clock.now += chance.one((0.01, 0.05, 0.3, 1.1))
        kinds = self._kinds()
        name = chance.weighed({name: weight for name, (weight, _) in kinds.items()})
        self._say(name)
        kinds[name][1]()
        self.taken += 1
        self.checks.step()

    def _kinds(self) -> dict[str, tuple[float, Action]]:
        world, has = self.world, self.chance.has
        kinds: dict[str, tuple[float, Action]] = {
            "deliver": (3.0, lambda: self._begin("deliver", world.sender, world.deliver())),
        }
        for name, shard in world.shards.items():
            kinds[f"{name} works"] = 3.0, lambda p=shard: self._begin(f"{p.name} works", p, p.work)  # type: ignore[misc]
            kinds[f"{name} renews"] = 1.2, lambda p=shard: self._begin(f"{p.name} renews", p, p.renew)  # type: ignore[misc]
        for name, gateway in world.gateways.items():
            kinds[f"{name} polls"] = 0.6, lambda p=gateway: self._begin(f"{p.name} polls", p, lambda: world.poll(p))  # type: ignore[misc]
            kinds[f"{name} reads"] = 1.0, lambda p=gateway: self._read(p)  # type: ignore[misc]
        mishaps: dict[str, tuple[str, float, Action]] = {
            "a process ends": ("kill", 0.6, lambda: world.kill(self.chance.one(world.processes).name)),
            "the store restarts": ("store restarts", 0.6, world.restart_store),
            "the store is emptied": ("store emptied", 0.4, world.empty_store),
            "the store's backup": ("store restored", 0.8, world.restore_store),
            "the registry's backup": ("registry restored", 1.6, world.restore_registry),
            "a row is evicted": ("row evicted", 0.6, world.evict),
            "a process is cut off, or back": ("cut off", 0.8, lambda: world.cut(self.chance.one(world.processes))),
            "the clock jumps": ("clock jumps", 0.5, world.jump),
            "time passes": ("time passes", 2.0, self._pass_time),
            "a model fails, or works again": ("encoder fails", 0.8, world.break_model),
            "the operator forgets": ("forget", 0.8, lambda: self._operate(world.forget, world.users[:2])),
            "the operator promotes": ("assignments", 0.7, lambda: self._operate(world.promote, VERSIONS)),
            "the operator retires": ("assignments", 0.5, lambda: self._operate(world.retire, VERSIONS)),
            "windows end": ("assignments", 0.3, world.windows_end),
            "the operator publishes": ("store emptied", 0.2, lambda: self._operate(lambda _: world.publish(), [""])),
            "the operator takes over": (
                "registry restored", 0.2, lambda: self._operate(lambda _: world.take_over(), [""])
            ),
        }  # fmt: skip
        return kinds | {name: (weight, act) for name, (fault, weight, act) in mishaps.items() if has(fault)}

    def _begin(self, actor: str, process: Process, work: Action, waits: bool = False) -> None:
        """Begin a step of an actor, or go on with its paused one, if chance has it so."""
        chance, steps = self.chance, self.steps
        seams = int(chance.random.random() * 14) if chance.has("pause") and chance.of(PAUSED) else None
        if actor in steps.paused:
            if not chance.of(RESUMED):
                return
            step = steps.resume(actor) if seams is None else steps.resume(actor, seams)
        else:
            # Beside a paused step of its own process it may have to wait for a lock.
            beside = waits or any(other.owner == process.name for other in steps.paused.values())
            step = steps.begin(actor, process.name, work, 10**9 if beside and seams is None else seams)
        if not step.done:
            chance.sometimes("paused between two calls")
            self._say("  paused")
        elif step.killed:
            self.world.kill(process.name)

    def _operate(self, work: Callable[[str], object], about: tuple[str, ...] | list[str]) -> None:
        subject = self.chance.one(about)
        self._begin("operator", self.world.operator, lambda: work(subject), waits=True)

    def _read(self, gateway: GatewayProcess) -> None:
        self._begin(f"{gateway.name} reads", gateway, lambda: self.world.read(gateway))

    def _pass_time(self) -> None:
        self.world.clock.now += self.chance.one((4.0, 10.5, 10.5, 35.0))
        self.chance.sometimes("longer than a lease")

    # ------------------------------------------------------------------ rest

    def _rest(self) -> None:
        """No faults any more: what was begun ends, what was sent arrives, and all comes to rest."""
        world, steps = self.world, self.steps
        self._say("no faults any more")
        self._calm(True)
        world.shared.broken.clear()
        world.clock.now += 20
        for name in list(world.shards)[1:]:  # one shard takes over from the other, as both have crashed or one has
            steps.kill(name)
            del world.shards[name]
        if self.chance.of(0.5):
            world.kill("shard-a")
        for turn in range(ROUNDS):
            self._calm(True)
            for process in world.processes:
                process.wire.cut.clear()
            self._finish()
            for shard in world.shards.values():
                for work in (shard.work, shard.renew) if turn % 4 == 0 else (shard.work,):
                    steps.begin(shard.name, shard.name, work)
                    self.checks.step()
            self._say("all work")
            if self._at_rest():
                break
            world.clock.now += REST_SECONDS
        else:
            raise Violation("rest", f"the shards never come to rest: {self._unrest()}")
        for gateway in world.gateways.values():
            for work in (lambda g=gateway: world.poll(g), lambda g=gateway: world.read(g)):  # type: ignore[misc]
                steps.begin(gateway.name, gateway.name, work)
                self.checks.step()
            if not gateway.watch.sound:
                raise Violation("restored", f"{gateway.name} still takes the store as unsound: {gateway.watch.trouble}")
        self.checks.rest()

    def _finish(self) -> None:
        """One go of everything that was begun and must end."""
        world, steps = self.world, self.steps
        for actor in list(steps.paused):
            steps.resume(actor)
            self.checks.step()
        if "operator" in steps.paused:
            return
        if self.chance.has("registry restored") and world.is_ahead():
            steps.begin("operator", "operator", world.take_over)
        for user, finished in world.forgetting.items():
            if not finished:
                steps.begin("operator", "operator", lambda u=user: world.forget(u), 10**9)  # type: ignore[misc]
                return
        waiting = list(world.ledger.waiting)
        for user in sorted(world.evicted):
            world.events += 1
            waiting.append(event(user, world.events, self.chance))
        world.evicted.clear()
        if waiting:
            steps.begin("deliver", "sender", lambda: world.send(waiting))
            self.checks.step()

    def _at_rest(self) -> bool:
        world = self.world
        if self.steps.paused or world.ledger.waiting or not all(world.forgetting.values()):
            return False
        held = [shard.held.work_in_batches() for shard in world.shards.values()]
        ends = dict(world.raw.execute("SELECT bucket, next_position - 1 FROM buckets WHERE bucket >= 0").fetchall())
        lazily = {bucket: position for _, _, positions in held for bucket, position in positions.items()}
        applied = {bucket: position for _, positions, _ in held for bucket, position in positions.items()}
        if len(lazily) < BUCKETS or any(not lazily[b] == applied[b] >= end for b, end in ends.items()):
            return False
        asked = world.raw.execute("SELECT 1 FROM refresh_requests").fetchone()
        return not asked and all(shard.at_rest for shard in world.shards.values())

    def _unrest(self) -> str:
        world = self.world
        held = {name: shard.held.work_in_batches() for name, shard in world.shards.items()}
        failing = {name: (shard.refresher.failing, shard.refresher.missed) for name, shard in world.shards.items()}
        return (
            f"held {held}, failing {failing}, waiting {len(world.ledger.waiting)}, forgetting {world.forgetting}, "
            f"paused {list(self.steps.paused)}, store {world.shared.store.held.fences} {world.shared.store.held.mark}, "
            f"leases {world.raw.execute('SELECT * FROM leases').fetchall()}, "
            f"buckets {world.raw.execute('SELECT * FROM buckets').fetchall()}, "
            f"noted {world.raw.execute('SELECT * FROM online_store').fetchall()}"
        )

    def _say(self, line: str) -> None:
        if self.chance.tell is not None:
            self.chance.tell(f"{self.world.clock.now - 1000:8.2f}  {line}")


@cache
def _server() -> MemoryServer:
    """The database of this process, copied from the template for each schedule."""
    listen()
    return MemoryServer()


@cache
def _steps() -> Steps:
    """The threads of this process."""
    return Steps()


def run(seed: int, tell: Callable[[str], object] | None = None) -> Outcome:
    """Run the schedule of a seed; the same seed takes the same steps."""
    chance = Chance(seed, tell)
    if tell is not None:
        tell(f"faults: {', '.join(sorted(chance.faults)) or 'none'}")
    schedule = Schedule(chance)
    try:
        schedule.run()
    except Violation as violation:
        return Outcome(seed, chance.reached, violation.check, str(violation), schedule.taken)
    except Exception as error:
        if tell is not None:
            tell(traceback.format_exc())
        return Outcome(seed, chance.reached, "unexpected error", f"{error!r}", schedule.taken)
    return Outcome(seed, chance.reached, steps=schedule.taken)
