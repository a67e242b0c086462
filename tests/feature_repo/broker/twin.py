"""The in-memory twin of the broker."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from portrait.feature_repo.broker.broker import StreamEntry
from portrait.registry.errors import Unavailable


def order(id: str) -> tuple[int, ...]:
    return tuple(map(int, id.split("-")))


class TwinBroker:
    """Keeps every stream as a list; `away` makes it refuse."""

    def __init__(self) -> None:
        self.streams: dict[int, list[StreamEntry]] = defaultdict(list)
        self.away = False
        self._last: dict[int, int] = defaultdict(int)
        self._grown = threading.Condition()

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        self._answer()
        with self._grown:
            for bucket, record in records:
                self._last[bucket] += 1
                self.streams[bucket].append(StreamEntry(bucket, f"1-{self._last[bucket]}", record))
            self._grown.notify_all()

    def read(self, positions: Mapping[int, str], count: int, wait_ms: int) -> list[StreamEntry]:
        self._answer()
        with self._grown:
            if wait_ms:
                self._grown.wait_for(lambda: self._after(positions, count), wait_ms / 1000)
            return self._after(positions, count)

    def trim(self, positions: Mapping[int, str]) -> None:
        self._answer()
        for bucket, position in positions.items():
            self.streams[bucket] = [entry for entry in self.streams[bucket] if order(entry.id) > order(position)]

    def length(self, bucket: int) -> int:
        self._answer()
        return len(self.streams[bucket])

    def delete(self, bucket: int, matches: Callable[[bytes], bool]) -> int:
        self._answer()
        before = len(self.streams[bucket])
        self.streams[bucket] = [entry for entry in self.streams[bucket] if not matches(entry.record)]
        return before - len(self.streams[bucket])

    def purge(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing is open."""

    def _after(self, positions: Mapping[int, str], count: int) -> list[StreamEntry]:
        return [
            entry
            for bucket, position in positions.items()
            for entry in [one for one in self.streams[bucket] if order(one.id) > order(position)][:count]
        ]

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the broker does not answer")
