"""What a gateway stands on."""

from dataclasses import dataclass

from serving.api.operations import Operations
from serving.arrivals import Arrivals
from serving.lookups import AsyncReads
from serving.reader import EmbeddingReader
from serving.reconciler import Reconciler
from serving.requests_for_refresh import RequestsForRefresh


@dataclass(frozen=True)
class Parts:
    """A reader, what is asked of the registry and what comes into the log; the real ones come from serving.wiring."""

    reader: EmbeddingReader
    operations: Operations
    arrivals: Arrivals
    asynchronous: AsyncReads | None = None  # the store, where it can be awaited without a thread
    reconciler: Reconciler | None = None  # what is done beside answering
    requests: RequestsForRefresh | None = None  # who is told of users without a stored vector
