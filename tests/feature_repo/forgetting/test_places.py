"""Stream entries as a place: those about a user, and those that only look like it."""

import orjson

from portrait.feature_repo.forgetting.places import StreamEntries, User
from tests.feature_repo.broker.twin import TwinBroker


def test_entries_about_the_user_go_from_every_stream() -> None:
    broker, user = TwinBroker(), User("42")
    about = [{"kind": "events", "user_id": "42"}, {"kind": "users", "user_id": 42}]
    others = [{"kind": "events", "user_id": "421"}, {"kind": "items", "item_id": "42", "text": "42"}]
    records = [orjson.dumps(record) for record in (*about, *others)]
    broker.append(
        [(bucket, record) for bucket in (user.bucket, 3) for record in (*records, b'{"user_id": "42", broken')]
    )
    place = StreamEntries(broker)
    assert place.count(user) == 6
    place.delete(user)
    assert place.count(user) == 0
    left = [entry.record for bucket in (user.bucket, 3) for entry in broker.streams[bucket]]
    assert left == records[2:] * 2
    assert "42" not in repr(user)
