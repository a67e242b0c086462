"""The encoders of the versions being served, loaded once each and kept while memory allows."""

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
    """Least recently used encoders within a memory budget; one load a version at a time, others go on."""

    def __init__(
        self,
        load: Callable[[EmbeddingVersion], "Encoder"],
        budget_bytes: int = 2 << 30,
        keep_up: Callable[["Encoder"], None] | None = None,
    ) -> None:
        """`keep_up` is done to an encoder whenever it is asked for: it may have items to learn."""
        self._load = load
        self._budget = budget_bytes
        self._keep_up = keep_up
        self._encoders: OrderedDict[str, Encoder] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, version: EmbeddingVersion) -> "Encoder":
        """The encoder of a version, loading it when it is not there; raises what loading raises."""
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
"""How long a registry that did not answer is left alone: nobody who reads should wait for it again and again."""


class Upkeep:
    """Brings an encoder up to the catalogue before it computes."""

    def __init__(self, bring: Callable[["Encoder"], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`bring` is that of portrait.training.encoding.later_items.NewItems."""
        self._bring = bring
        self._clock = clock
        self._paused_until = float("-inf")

    def __call__(self, encoder: "Encoder") -> None:
        """Bring it up, unless the registry is away."""
        if self._clock() < self._paused_until:
            return
        try:
            self._bring(encoder)
        except Unavailable as error:
            self._paused_until = self._clock() + PAUSE_SECONDS
            log.warning("items beyond position %s are not known here yet: %s", encoder.items_position, error)
