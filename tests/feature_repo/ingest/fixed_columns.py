"""Fixed columns for a record judge without a log."""

from collections.abc import Mapping

from portrait.feature_repo.ingest.known_columns import Columns


class FixedColumns:
    """KnownColumns that change only when a test sets them, and come into force when they are read again."""

    stale = False

    def __init__(self, further: Mapping[str, str] | None = None, vectors: Mapping[str, int] | None = None) -> None:
        self.current = self.next = Columns(further or {}, vectors or {})

    def refresh(self, at_once: bool = False) -> None:
        if at_once:
            self.current = self.next
