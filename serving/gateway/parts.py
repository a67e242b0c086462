"""What a gateway stands on."""

from dataclasses import dataclass

from portrait.serving.api.operations import Operations
from portrait.serving.arrivals.arrivals import Arrivals
from portrait.serving.operations.reconciler import Reconciler
from portrait.serving.reads.lookups import AsyncReads
from portrait.serving.reads.reader import EmbeddingReader
from portrait.serving.reads.refresh_requests import RequestsForRefresh


@dataclass(frozen=True)
class Parts:
    """A reader, what is asked of the registry and what comes into the log; the real ones come from gateway.build."""

    reader: EmbeddingReader
    operations: Operations
    arrivals: Arrivals
    asynchronous: AsyncReads | None = None  # the store, where it can be awaited without a thread
    reconciler: Reconciler | None = None  # what is done beside answering
    requests: RequestsForRefresh | None = None  # who is told of users without a stored vector
