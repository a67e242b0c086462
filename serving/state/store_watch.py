"""The watch over the online store: whether it still holds what the registry has noted as online."""

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from portrait.feature_repo.log.partition import bucket_of
from portrait.registry.errors import PortraitError, StoreForeign

if TYPE_CHECKING:  # Feast takes seconds to import
    from portrait.feature_repo.store.store_identity import StoreIdentity

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class StoreWatch:
    """What readers know of the store, from memory; a thread looks every second.

    While registry or store are away, what was seen last counts.
    """

    def __init__(self, identity: "StoreIdentity") -> None:
        self._identity = identity
        self.problem: str | None = None
        """Why the store does not match the registry; None when it does."""
        self.foreign: str | None = None
        """Why the store's vectors are not this registry's; None when they are."""
        self.lost: frozenset[int] = frozenset()
        """Buckets whose rows are not all back in the store."""
        self.evicts = False
        """Whether the store's server evicts rows of single users."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store watch", daemon=True)

    @property
    def sound(self) -> bool:
        """Whether the store has all that it should have."""
        return self.problem is None and self.foreign is None and not self.lost

    @property
    def trouble(self) -> str | None:
        """What is wrong with the store, for people; None when it is sound."""
        if self.problem is None and self.lost:
            return f"rows of {len(self.lost)} buckets that the online store has lost are not all back"
        return self.foreign or self.problem

    def require_own(self) -> None:
        """Raise StoreForeign when another registry fills the store: nothing of it may be answered."""
        if self.foreign is not None:
            raise StoreForeign(self.foreign)

    def doubtful(self, user_ids: Sequence[str]) -> NDArray[np.bool_] | None:
        """Bool [n]: users whose rows may be missing or out of date; None when the store is sound.

        Raises StoreForeign.
        """
        if self.sound:
            return None
        self.require_own()
        if self.problem is not None:
            return np.ones(len(user_ids), np.bool_)
        return np.array([bucket_of(user) in self.lost for user in user_ids], np.bool_)

    def look(self) -> None:
        """Compare store and registry now; raises Unavailable when one of them does not answer."""
        problem, foreign, lost = None, None, frozenset[int]()
        try:
            problem = self._identity.problem()
            lost = self._identity.lost() if problem is None else lost
        except StoreForeign as error:
            foreign = str(error)
        self.problem, self.foreign, self.lost = problem, foreign, lost
        self.evicts = foreign is None and self._identity.evicts()

    def start(self) -> None:
        """Look every second from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            before = self.trouble
            try:
                self.look()
                if self.trouble is not None and self.trouble != before:
                    log.error("%s: %s", "nothing is answered" if self.foreign else "reads are stale", self.trouble)
            except PortraitError as error:  # the poller and the reads tell it
                log.debug("the store was not compared with the registry: %s", error)
            except Exception:
                log.exception("comparing the store with the registry failed; trying again")
            self._stopped.wait(LOOK_SECONDS)
