"""The encoders of the versions being served: a cache within a memory budget, and their upkeep with new items."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from portrait.registry.errors import Unavailable
from portrait.registry.records.records import EmbeddingVersion

if TYPE_CHECKING:  # torch takes seconds to import, and stored vectors need none of it
    from portrait.training.encoding.encoder import Encoder


class EncoderCache:
    """A least-recently-used cache of encoders within a memory budget; two versions may load at the same time."""

    def __init__(
        self,
        load: Callable[[EmbeddingVersion], "Encoder"],
        budget_bytes: int = 2 << 30,
        keep_up: Callable[["Encoder"], None] | None = None,
    ) -> None:
        """`keep_up` is called with an encoder on every `get`, as there may be new items to learn."""
        self._load = load
        self._budget = budget_bytes
        self._keep_up = keep_up
        self._encoders: OrderedDict[str, Encoder] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, version: EmbeddingVersion) -> "Encoder":
        """The encoder of a version, loaded if it is not in the cache; raises what loading raises."""
        encoder = self._loaded(version)
        if self._keep_up is not None:
            self._keep_up(encoder)
        return encoder

    def _loaded(self, version: EmbeddingVersion) -> "Encoder":
        with self._lock:
            encoder = self._encoders.get(version.id)
            if encoder is not None:
                self._encoders.move_to_end(version.id)
                return encoder
            loading = self._loading.setdefault(version.id, threading.Lock())
        with loading:
            with self._lock:
                if version.id in self._encoders:
                    return self._encoders[version.id]
            encoder = self._load(version)
            with self._lock:
                self._encoders[version.id] = encoder
                self._loading.pop(version.id, None)
                self._evict()
            return encoder

    def _evict(self) -> None:
        while len(self._encoders) > 1 and sum(encoder.nbytes for encoder in self._encoders.values()) > self._budget:
            self._encoders.popitem(last=False)


log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""The pause after a registry did not answer, so that not every read waits for it."""


class Upkeep:
    """Teaches an encoder the new items of the catalogue before it computes."""

    def __init__(self, bring: Callable[["Encoder"], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`bring` is the method `bring` of portrait.training.encoding.later_items.NewItems."""
        self._bring = bring
        self._clock = clock
        self._paused_until = float("-inf")

    def __call__(self, encoder: "Encoder") -> None:
        """Teach the encoder the new items, unless the registry is away."""
        if self._clock() < self._paused_until:
            return
        try:
            self._bring(encoder)
        except Unavailable as error:
            self._paused_until = self._clock() + PAUSE_SECONDS
            log.warning("items beyond position %s are not known here yet: %s", encoder.items_position, error)
