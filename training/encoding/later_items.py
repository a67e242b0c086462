"""Items that appeared after a version was trained: an overlay over its artifact, derived from the log alone."""

import threading
from typing import Protocol

import pyarrow as pa

from portrait.feature_repo.history.catalogue import items_position, items_since
from portrait.feature_repo.log.event_log import EventLog


class Learner(Protocol):
    """What NewItems needs of an Encoder."""

    @property
    def items_position(self) -> int:
        """Position of the catalogue up to which it knows the items."""
        ...

    def learn(self, items: pa.Table, position: int) -> None:
        """Know rows of the catalogue, up to a position."""
        ...


class NewItems:
    """Brings encoders up to the catalogue of a log. Whoever encodes asks it before: batch, refresh, compute-on-read."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._reading = threading.Lock()

    def bring(self, encoder: Learner) -> None:
        """Have the encoder know all items there are now; one small query when it does. Safe from many threads.

        The first time it reads the whole catalogue. Raises Unavailable when the database does not answer.
        """
        if items_position(self._log) <= encoder.items_position:
            return
        with self._reading:  # whoever has waited here finds it done
            encoder.learn(*items_since(self._log, encoder.items_position))
