"""Whatever way a stream comes, it ends in the batch's result: the same histories exactly, and the same vectors."""

import itertools
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.log.inbox import Arriving
from feature_repo.log.manifest import Kind
from feature_repo.log.seal import seal
from registry.errors import Unavailable
from tests.serving.refresh.followed import START, Followed, event, profile

BOTH = ("autoencoder-1", "autoencoder-2")
ITEMS = [
    f"{service}-{number:04d}" for service, first in (("music", 0), ("video", 480)) for number in range(first, first + 6)
]
HOUR = 3_600_000_000
names = (f"u{n}" for n in itertools.count())
"""Users of whom nobody has heard before: so one instance serves all examples."""

actions = st.sampled_from(["accept", "accept", "accept", "step", "step", "seal", "file", "restart", "kill", "again"])


@st.composite
def records(draw: st.DrawFn) -> list[Arriving]:
    """What comes of a few users: events around the backfill's time, of which many are tied, and profile changes."""
    users = [next(names) for _ in range(draw(st.integers(1, 3)))]
    count = draw(st.integers(4, 24))
    moments = st.integers(-20, 10)
    came: list[Arriving] = []
    for n in range(count):
        user = draw(st.sampled_from(users))
        if draw(st.integers(0, 4)):
            item, action = draw(st.sampled_from(ITEMS)), draw(st.sampled_from(["play", "skip"]))
            weight = draw(st.sampled_from([1.0, 0.2, 2.5]))
            came.append(event(user, item, draw(moments) * HOUR, f"{user}/{n}", action, weight))
        else:
            came.append(profile(user, birth_year=1900 + n, **draw(changes)))
    return came


changes = st.fixed_dictionaries(
    {},
    optional={
        "country": st.sampled_from(["SE", "FR", None]),
        "plan": st.sampled_from(["free", "family"]),
        "created_time": st.integers(-30, -1).map(lambda hours: START + hours * HOUR + 123_456),
        "onboarding_items": st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3),
    },
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_stream_ends_in_the_batch_result(shared: Followed, tmp_path: Path, data: st.DataObject) -> None:
    """Shuffled, with duplicates, in batches of any size, partly by file; sealed, begun anew and killed in between."""
    came = data.draw(records())
    events = [record for record in came if record.kind == Kind.EVENTS]
    again = data.draw(st.lists(st.sampled_from(events), max_size=6)) if events else []
    stream = data.draw(st.permutations([*came, *again]))
    while stream:
        play(shared, data, stream, tmp_path)
    shared.drain()
    shared.require_the_batch_result(BOTH, sorted({record.user_id or "" for record in came}))


def play(followed: Followed, data: st.DataObject, stream: list[Arriving], folder: Path) -> None:
    """One thing that happens; `stream` loses what has come."""
    match data.draw(actions):
        case "accept":
            size = data.draw(st.integers(1, 8))
            followed.accept(stream[:size])
            del stream[:size]
        case "file":
            size = data.draw(st.integers(1, 8))
            followed.take_in(stream[:size], folder, publish=data.draw(st.booleans()))
            del stream[:size]
        case "step":
            followed.shard.once()
        case "seal":
            seal(followed.portrait.log)
        case "restart":
            followed.shard.held.note()
            followed.begin()
        case "again":
            followed.shard.held.rewind()
        case "kill":
            kill_in(followed, data.draw(st.integers(0, 5)))


def kill_in(followed: Followed, writes: int) -> None:
    """A round that ends after so many writes to the online store, as if killed, and another shard after it."""
    online = followed.shard._refresher.repo.online
    write = online.write_rows
    left = iter(range(writes))

    def fail(*arguments: Any) -> int:
        if next(left, None) is None:
            raise Unavailable("killed")
        done: int = write(*arguments)
        return done

    online.write_rows = fail
    try:
        followed.shard.once()
    except Unavailable:
        pass
    finally:
        del online.write_rows
    followed.begin()
