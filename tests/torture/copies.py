"""Copied instances of rounds: a copy of the template with servers of its own, removed afterwards."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from portrait.feature_repo.log.partition import BUCKETS
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.serving.gateway.serve_environment import free_port
from tests.serving.proxy import Proxy
from tests.torture.checks import event_ids
from tests.torture.databases import Databases
from tests.torture.processes import RedisServer
from tests.torture.small_disk import SmallDisk, small_disk
from tests.torture.template import HOST, Place

HOME_MEGABYTES = 192


@dataclass(frozen=True)
class Instance:
    """An instance whose Redis runs, and whose gateway does not yet."""

    place: Place
    store: RedisServer
    network: Proxy  # between the processes and the store
    disk: SmallDisk | None  # of the home
    settings: Settings
    users: list[str]
    before: Counter[str]  # ids of the events in its log

    @property
    def url(self) -> str:
        """Where its gateway will answer."""
        return f"http://{HOST}:{self.settings.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which all its processes run."""
        given = {name: getattr(self.settings, name) for name in self.settings.model_fields_set}
        variables = {f"PORTRAIT_{name.upper()}": str(value) for name, value in given.items()}
        return variables | {"RAY_TMPDIR": str(self.place.scratch)}


@contextmanager
def instance(
    source: Place, postgres: str, broker: bool, wanted: Callable[[], bool], shards: int = 1, small: bool = False
) -> Iterator[Instance]:
    """A copy of `source`, whose databases lie on the server `postgres` if that is given.

    Its Redis is the online store, and the `broker` too where that is asked for. Its folder stays when it is still
    `wanted` after the block, but for a home on a `small` disk.
    """
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    with ExitStack() as stack:
        stack.callback(lambda: None if wanted() else shutil.rmtree(folder, ignore_errors=True))
        place = Place(folder, Databases.new(postgres) if postgres else None)
        place.home.mkdir()
        disk = stack.enter_context(small_disk(place.home, HOME_MEGABYTES)) if small else None
        place.copy_of(source)
        if place.databases is not None:
            stack.callback(place.databases.drop)
        # A broker's word is kept only by `always`; what the online store may lose, shards do again.
        store = RedisServer(place.redis, free_port(HOST), "always" if broker else "everysec")
        stack.callback(store.kill)
        store.start()
        network = stack.enter_context(Proxy(store.url))
        changes = {"port": free_port(HOST), "broker_url": network.url if broker else "", "refresh_shards": shards}
        settings = place.settings(network.url).model_copy(update=changes)
        with Portrait.prepare(settings) as portrait:
            portrait.repo.apply()  # Feast's sources lie in the new home
            users = [user for bucket in range(BUCKETS) for user in portrait.log.user_ids(bucket)]
            before = event_ids(portrait.log)
        yield Instance(place, store, network, disk, settings, users, before)
