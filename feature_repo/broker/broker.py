"""The broker interface: streams of records, one for each bucket of the log."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

BEGINNING = "0-0"
"""The position before the first entry of a stream."""


class StreamEntry(NamedTuple):
    """A record in a bucket's stream; the ids of one stream only grow."""

    bucket: int
    id: str
    record: bytes  # JSON, unless its writer broke the format


class Broker(Protocol):
    """Streams by bucket. Every method raises Unavailable when the broker does not answer.

    A Protocol for its twin: Redis streams in production, and a broker in memory for tests, held to one suite.
    """

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Append records to their buckets' streams, in order; returns when the broker has acknowledged all of them."""
        ...

    def read(self, positions: Mapping[int, str], count: int, wait_ms: int) -> list[StreamEntry]:
        """The next entries after the positions, at most `count` of each stream, in order within one.

        Waits up to `wait_ms` for a first one.
        """
        ...

    def trim(self, positions: Mapping[int, str]) -> None:
        """Delete the entries up to these, included."""
        ...

    def length(self, bucket: int) -> int: ...

    def delete(self, bucket: int, matches: Callable[[bytes], bool]) -> int:
        """Delete the entries whose record matches, wherever they are in the stream; returns how many."""
        ...

    def purge(self) -> list[str]:
        """Remove the bytes of deleted entries from its files; returns a sentence for each thing that failed."""
        ...

    def close(self) -> None: ...
