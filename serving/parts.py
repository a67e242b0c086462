"""What a gateway stands on."""

from dataclasses import dataclass

from serving.api.registry import RegistryReads
from serving.pools import AsyncLookup
from serving.reader import EmbeddingReader


@dataclass(frozen=True)
class Parts:
    """A reader and the registry's rare queries; the real ones come from serving.wiring."""

    reader: EmbeddingReader
    registry: RegistryReads
    read_async: AsyncLookup | None = None  # a store look-up that needs no thread
