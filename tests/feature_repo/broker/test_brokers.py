"""The contract of brokers: one suite over Redis Streams and the in-memory twin."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from portrait.feature_repo.broker.broker import BEGINNING, Broker, StreamEntry
from portrait.feature_repo.broker.redis_streams import CHUNK, RedisStreams, stream_key
from portrait.registry.errors import Unavailable


def everything(broker: Broker, *buckets: int) -> list[StreamEntry]:
    return broker.read(dict.fromkeys(buckets, BEGINNING), 10_000, 0)


def records(entries: list[StreamEntry], bucket: int) -> list[bytes]:
    return [entry.record for entry in entries if entry.bucket == bucket]


def test_what_was_appended_is_read_in_order(broker: Broker) -> None:
    broker.append([(3, b"a"), (5, b"x"), (3, b"b"), (3, b"\xff\x00")])
    broker.append([(3, b"c")])
    found = everything(broker, 3, 4, 5)
    assert records(found, 3) == [b"a", b"b", b"\xff\x00", b"c"] and records(found, 5) == [b"x"]
    assert everything(broker, 4) == [] and broker.read({}, 10, 0) == []


def test_reading_goes_on_after_a_position(broker: Broker) -> None:
    broker.append([(3, b"%d" % number) for number in range(5)])
    first = broker.read({3: BEGINNING}, 2, 0)
    assert records(first, 3) == [b"0", b"1"]
    assert broker.read({3: BEGINNING}, 2, 0) == first
    rest = broker.read({3: first[-1].id}, 10, 0)
    assert records(rest, 3) == [b"2", b"3", b"4"]
    assert broker.read({3: rest[-1].id}, 10, 1) == []


def test_reading_waits_for_the_first_entry(broker: Broker) -> None:
    asking = threading.Event()

    def ask() -> list[StreamEntry]:
        asking.set()
        return broker.read({7: BEGINNING, 8: BEGINNING}, 10, 5_000)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(ask)
        asking.wait()
        broker.append([(8, b"late")])
        assert records(reading.result(10), 8) == [b"late"]


def test_trimming_deletes_up_to_the_position(broker: Broker) -> None:
    broker.append([(3, b"%d" % number) for number in range(5)] + [(4, b"x")])
    second = everything(broker, 3)[1]
    broker.trim({3: second.id})
    assert records(everything(broker, 3), 3) == [b"2", b"3", b"4"]
    assert (broker.length(3), broker.length(4), broker.length(5)) == (3, 1, 0)
    last = everything(broker, 3)[-1]
    broker.trim({3: last.id, 4: BEGINNING})
    assert (broker.length(3), broker.length(4)) == (0, 1)
    broker.append([(3, b"next")])
    assert records(broker.read({3: last.id}, 10, 0), 3) == [b"next"]  # ids go on growing


def test_what_matches_is_deleted_wherever_it_is(broker: Broker) -> None:
    broker.append([(3, b"ann" if number % 3 == 0 else b"bob") for number in range(2 * CHUNK)] + [(4, b"ann")])
    assert broker.delete(3, lambda record: record == b"ann") == len(range(0, 2 * CHUNK, 3))
    assert set(records(everything(broker, 3), 3)) == {b"bob"} and broker.length(4) == 1
    assert broker.delete(3, lambda record: record == b"ann") == broker.delete(9, lambda record: True) == 0


def test_nothing_of_what_was_deleted_stays_in_the_server(redis_url: str) -> None:
    """A stream marks what is deleted or trimmed and keeps its bytes: what is left moves to another one."""
    broker, client = RedisStreams(redis_url), redis.Redis.from_url(redis_url)
    client.config_set("rdbcompression", "no")  # so that a dump shows the bytes
    broker.append([(3, b'{"user_id": "ann"}'), (3, b'{"user_id": "bob"}'), (3, b'{"user_id": "ann", "n": 2}')])
    entries = broker.read({3: BEGINNING}, 9, 0)
    broker.trim({3: entries[0].id})
    assert client.dump(stream_key(3)).count(b"ann") == 2
    assert broker.delete(3, lambda record: b"ann" in record) == 1
    assert client.dump(stream_key(3)).count(b"ann") == 0
    assert broker.read({3: BEGINNING}, 9, 0) == [entries[1]]
    assert broker.delete(3, lambda record: True) == 1 and broker.length(3) == 0
    broker.append([(3, b"later")])
    (later,) = broker.read({3: entries[2].id}, 9, 0)  # ids go on after what was deleted
    assert later.record == b"later"
    assert broker.purge() == []
    client.config_set("rdbcompression", "yes")


def test_an_entry_of_another_form_is_read_as_what_it_is(redis_url: str) -> None:
    client, broker = redis.Redis.from_url(redis_url), RedisStreams(redis_url)
    client.xadd(stream_key(3), {"r": "{}", "further": "x"})
    client.xadd(stream_key(3), {b"user_id": b"\xff", b"item_id": b"song"})
    assert records(everything(broker, 3), 3) == [b"{}", rb'[["user_id","\\xff"],["item_id","song"]]']
    client.close()
    broker.close()


def test_projects_do_not_see_each_other(redis_url: str) -> None:
    one, other = RedisStreams(redis_url), RedisStreams(redis_url, "other")
    one.append([(1, b"a")])
    assert (one.length(1), other.length(1)) == (1, 0)
    assert stream_key(1) == "portrait:portrait:stream:1" and stream_key(1, "other") == "portrait:other:stream:1"
    one.close()
    other.close()


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    broker = RedisStreams("redis://user:secret@127.0.0.1:9/0")
    for ask in (lambda: broker.append([(1, b"a")]), lambda: everything(broker, 1), lambda: broker.length(1)):
        with pytest.raises(Unavailable, match=r"redis://user:\*\*\*@127.0.0.1:9/0 does not answer") as refused:
            ask()
        assert "secret" not in str(refused.value)


def test_what_the_server_refuses_is_not_acknowledged(redis_url: str) -> None:
    client, broker = redis.Redis.from_url(redis_url), RedisStreams(redis_url)
    client.set(stream_key(2), "no stream")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        broker.append([(1, b"a"), (2, b"b")])
    client.close()
    broker.close()
