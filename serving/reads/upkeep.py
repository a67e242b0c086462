"""Encoders of a gateway know new items for as long as the registry answers, and go on with what they know when not."""

import logging
import time
from collections.abc import Callable

from portrait.registry.errors import Unavailable
from portrait.serving.reads.encoders import Encoder

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""How long a registry that did not answer is left alone: nobody who reads should wait for it again and again."""


class Upkeep:
    """Brings an encoder up to the catalogue before it computes."""

    def __init__(self, bring: Callable[[Encoder], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`bring` is that of portrait.training.encoding.later_items.NewItems."""
        self._bring = bring
        self._clock = clock
        self._paused_until = float("-inf")

    def __call__(self, encoder: Encoder) -> None:
        """Bring it up, unless the registry is away."""
        if self._clock() < self._paused_until:
            return
        try:
            self._bring(encoder)
        except Unavailable as error:
            self._paused_until = self._clock() + PAUSE_SECONDS
            log.warning("items beyond position %s are not known here yet: %s", encoder.items_position, error)
