"""Parts of the torture: a seed decides what is sent and killed, and the checks see what is wrong."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import SegmentKind, commit_segments
from portrait.feature_repo.log.partition import bucket_of
from portrait.infra.portrait import Portrait
from tests.torture import traffic
from tests.torture.chaos import STREAMS, Victim, plan
from tests.torture.checks import backlog, check, event_ids
from tests.torture.ledger import Event, Ledger

USERS = [f"u{number:06d}" for number in range(50)]


def test_a_seed_gives_the_same_stream_and_the_same_kills() -> None:
    assert traffic.events(3, 500, USERS) == traffic.events(3, 500, USERS) != traffic.events(4, 500, USERS)
    assert plan(3, 500, 8) == plan(3, 500, 8) != plan(4, 500, 8)


def test_the_stream_is_out_of_order_and_of_known_and_new_users() -> None:
    events = traffic.events(3, 2000, USERS)
    assert len({event.event_id for event in events}) == 2000
    times = [event.event_time for event in events]
    assert times != sorted(times) and len(set(times)) < 2000
    new = sum(event.user_id not in USERS for event in events)
    assert 100 < new < 300
    assert max(times) < traffic.late_event(3, 0, USERS[0]).event_time < traffic.late_event(3, 1, USERS[0]).event_time


def test_batches_are_the_stream_cut_into_requests() -> None:
    events = traffic.events(3, 2000, USERS)
    batches = traffic.batches(3, events)
    assert [event for batch in batches for event in batch] == events
    assert 1 <= min(map(len, batches)) < 10 and 90 < max(map(len, batches)) <= traffic.MOST_IN_REQUEST


@pytest.mark.parametrize("seed", range(4))
def test_everything_has_its_turn_within_the_stream(seed: int) -> None:
    strikes = plan(seed, 1000, 18)
    assert [strike.at for strike in strikes] == sorted(strike.at for strike in strikes)
    assert all(0 <= strike.at <= 1000 for strike in strikes)
    killed = Counter(victim for strike in strikes for victim in strike.victims)
    assert all(killed[victim] >= 2 for victim in Victim)
    of_brokers = {victim for strike in plan(seed, 1000, 18, broker=True) for victim in strike.victims}
    assert of_brokers == set(Victim) - STREAMS


def test_an_answer_that_does_not_add_up_is_a_complaint() -> None:
    ledger, events = Ledger(), traffic.events(3, 3, USERS)
    ledger.answer(events, {"accepted": 2, "known": 1, "rejected": []})
    assert not ledger.complaints and (ledger.accepted, ledger.known, len(ledger.answered)) == (2, 1, 3)
    ledger.answer(events, {"accepted": 2, "known": 0, "rejected": []})
    ledger.answer(events, {"accepted": 2, "known": 1, "rejected": [{"index": 0, "reason": "no"}]})
    assert len(ledger.complaints) == 2


def test_what_is_lost_or_was_never_sent_is_seen(backfilled: Portrait) -> None:
    before = event_ids(backfilled.log)
    ledger, (sent, lost, foreign) = Ledger(), traffic.events(3, 3, USERS)
    ledger.sending([sent, lost])
    ledger.answer([sent, lost], {"accepted": 2, "known": 0, "rejected": []})
    accept(backfilled, sent, foreign)
    found = check(backfilled, ledger, before)
    assert (found.in_log, found.lost, found.foreign, found.doubled) == (1, 1, 1, 0)
    assert not found.good and any(lost.event_id in example for example in found.examples)


def test_an_event_twice_in_the_log_is_seen(backfilled: Portrait) -> None:
    before, manifest = event_ids(backfilled.log), backfilled.log.manifest()
    segment = manifest.segments_of(SegmentKind.EVENTS)[0]
    again = replace(segment, id="again", path=str(Path(segment.path).with_name("again.parquet")))
    shutil.copy(backfilled.log.home / segment.path, backfilled.log.home / again.path)
    commit_segments(backfilled.database, [again], manifest, [])
    found = check(backfilled, Ledger(), before)
    assert found.doubled == segment.rows and not found.good


def test_what_no_shard_has_applied_is_seen_in_histories_and_vectors(backfilled: Portrait) -> None:
    before, ledger = event_ids(backfilled.log), Ledger()
    assert check(backfilled, ledger, before).good
    [event] = traffic.events(3, 1, USERS)
    ledger.sending([event])
    waiting = backlog(backfilled.database)
    accept(backfilled, event)
    assert backlog(backfilled.database) == waiting + 1
    found = check(backfilled, ledger, before)
    assert (found.histories_wrong, found.positions_wrong, found.lost) == (1, 1, 0)
    assert found.vectors_wrong == {"autoencoder-1": 1}


def test_a_vector_that_is_another_is_seen(backfilled: Portrait) -> None:
    version = backfilled.registry.versions.get("autoencoder-1")
    stored = backfilled.repo.read_vectors(version, USERS[:1])
    moved = stored.vectors + np.float32(1e-3)
    backfilled.repo.write_vectors(version, USERS[:1], moved, stored.position + 1, stored.as_of, 0)
    found = check(backfilled, Ledger(), event_ids(backfilled.log))
    assert found.vectors_wrong == {"autoencoder-1": 1} and found.histories_wrong == 0


def accept(portrait: Portrait, *events: Event) -> None:
    arriving = []
    for event in events:
        values = (event.user_id, event.item_id, event.event_time, event.service, event.action, event.weight)
        payload = orjson.dumps((*values, event.event_id)).decode()
        arriving.append(
            ArrivingRecord(SegmentKind.EVENTS, bucket_of(event.user_id), payload, event.user_id, event.event_id)
        )
    portrait.log.inbox.accept(arriving)
