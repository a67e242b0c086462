"""What the broker holds and nobody has taken in yet."""

from portrait.feature_repo.broker.broker import BEGINNING, Broker
from portrait.feature_repo.broker.records import kind_and_fields, user_of_record
from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.ingest.record_fields import Unfit
from portrait.feature_repo.log.partition import BUCKETS

AT_ONCE = 1_000


class StreamEntries:
    """Entries of all streams, as whoever writes to a broker directly may have chosen another bucket than ours."""

    name = "broker"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def count(self, user: User) -> int:
        """Entries about the user."""
        found, positions = 0, dict.fromkeys(range(BUCKETS), BEGINNING)
        while entries := self._broker.read(positions, AT_ONCE, 0):
            found += sum(_is_about(user, entry.record) for entry in entries)
            positions |= {entry.bucket: entry.id for entry in entries}
        return found

    def delete(self, user: User) -> None:
        """Delete them; what comes later is refused when it is taken in."""
        for bucket in range(BUCKETS):
            self._broker.delete(bucket, lambda record: _is_about(user, record))


def _is_about(user: User, record: bytes) -> bool:
    try:
        kind_and_fields(record)
    except Unfit:
        return user.id.encode() in record  # its text may name somebody all the same
    return user_of_record(record) == user.id
