"""The mark of an online store: which registry fills it, and up to when.

What is online is noted in the registry. A store that was emptied, restored from a backup or exchanged makes these notes
wrong without a word. So the store carries a mark, and the registry the same one: see `store/store_identity.py`.
"""

from typing import NamedTuple


class StoreMark(NamedTuple):
    """The mark as a store has it."""

    instance: str
    """Id of the registry whose log fills the store."""

    store: str
    """Id of the filling: a new one whenever the store is filled from the start."""

    beat: int
    """The registry's time of the last check, microseconds since 1970; a beat reaches the registry first."""
