"""Histories by service, against the same written down one event at a time."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from portrait.training.clue.batch import gap_bucket
from portrait.training.clue.histories import NO_EVENT, ONBOARDING, ServiceHistories
from tests.training.clue.made import SECOND, User, arrays, histories

EVENT = st.tuples(st.integers(0, 9 * SECOND), st.integers(-1, 2), st.integers(-1, 5), st.integers(-1, 2))
USER = st.builds(
    User,
    st.lists(EVENT, max_size=12).map(lambda events: sorted(events, key=lambda event: event[0])),
    st.lists(st.integers(0, 5), max_size=4),
)
USERS = st.lists(USER, max_size=5)
Sequence = tuple[int, int, list[tuple[int, int, int]]]


def expected(users: list[User], longest: int) -> list[Sequence]:
    """(user, service, [(item, action + 1, seconds since the one before)]), one event at a time."""
    found: list[Sequence] = []
    for place, user in enumerate(users):
        of: dict[int, list[tuple[int, int, int]]] = {}
        if user.picks:
            of[ONBOARDING] = [(item, 0, 0) for item in user.picks]
        for time, service, item, action in user.events:
            if item >= 0:
                of.setdefault(service, []).append((item, action + 1, time))
        for service in sorted(of):
            newest = of[service][-longest:]
            gaps = [NO_EVENT, *((b[2] - a[2]) // SECOND for a, b in pairwise(newest))]
            rows = [(item, action, gap) for (item, action, _), gap in zip(newest, gaps, strict=True)]
            found.append((place, service, rows))
    return found


def read(found: ServiceHistories) -> list[Sequence]:
    """The same out of the flat arrays."""
    return [
        (
            int(found.user[k]),
            int(found.service[k]),
            [(int(found.items[e]), int(found.actions[e]), int(found.seconds[e])) for e in range(begin, end)],
        )
        for k, (begin, end) in enumerate(zip(found.starts[:-1], found.starts[1:], strict=True))
    ]


@given(users=USERS, longest=st.integers(1, 6))
def test_they_are_those_of_one_event_at_a_time(users: list[User], longest: int) -> None:
    found = histories(users, longest)
    assert read(found) == expected(users, longest)
    assert len(found) == len(found.lengths) and (found.lengths >= 1).all() and (found.lengths <= longest).all()
    assert all(array.dtype == np.int64 for array in found.arrays().values())


@given(parts=st.lists(USERS, max_size=4))
def test_joined_they_are_those_of_all_users_together(parts: list[list[User]]) -> None:
    joined = ServiceHistories.joined([histories(users, 4) for users in parts], [len(users) for users in parts])
    whole = histories([user for users in parts for user in users], 4)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(joined.arrays()[name], array)


def test_services_that_the_model_does_not_know_are_one() -> None:
    [[_, _, rows]] = read(histories([User([(0, -1, 3, 0), (5 * SECOND, -1, 4, 1)])]))
    assert rows == [(3, 1, NO_EVENT), (4, 2, 5)]


def test_an_unknown_item_leaves_the_gap_between_its_neighbours() -> None:
    [[_, _, rows]] = read(histories([User([(0, 0, 3, 0), (2 * SECOND, 0, -1, 0), (9 * SECOND, 0, 4, 0)])]))
    assert rows == [(3, 1, NO_EVENT), (4, 1, 9)]


@pytest.fixture
def two() -> ServiceHistories:
    times = (0, 1, 3, 63)
    return histories([User([(t * SECOND, 0, n, n % 2) for n, t in enumerate(times)]), User(picks=(7, 8))])


def test_padded_at_the_left_with_the_newest_last(two: ServiceHistories) -> None:
    found = two.padded(two.starts[:-1], two.starts[1:])
    assert found.items.tolist() == [[0, 1, 2, 3], [-1, -1, 7, 8]]
    assert found.actions[0].tolist() == [1, 2, 1, 2] and found.actions[1, 2:].tolist() == [0, 0]
    gaps = gap_bucket(torch.tensor([-1, 1, 2, 60])).tolist()
    assert found.gaps[0].tolist() == gaps and found.gaps[1, 2:].tolist() == [0, 1]


def test_a_part_begins_without_a_gap(two: ServiceHistories) -> None:
    found = two.padded(np.array([2]), np.array([4]))
    assert found.items.tolist() == [[2, 3]]
    assert found.gaps[0].tolist() == gap_bucket(torch.tensor([-1, 60])).tolist()


def test_shuffled_each_event_keeps_what_is_its_own(two: ServiceHistories) -> None:
    def events(sequences: Any) -> list[list[tuple[int, ...]]]:
        columns = (sequences.items, sequences.actions, sequences.gaps)
        return [list(zip(*(column[row].tolist() for column in columns), strict=True)) for row in range(len(sequences))]

    plain = events(two.padded(two.starts[:-1], two.starts[1:]))
    seen = set()
    for seed in range(20):
        mixed = two.padded(two.starts[:-1], two.starts[1:], np.random.default_rng(seed))
        assert [sorted(row) for row in events(mixed)] == [sorted(row) for row in plain]
        assert (mixed.items[1, :2] == -1).all()  # padding stays at the left
        seen.add(tuple(mixed.items[0].tolist()))
    assert len(seen) > 10


def test_nobody_has_no_history() -> None:
    for nothing in (histories([]), histories([User(), User([(0, 0, -1, 0)])]), ServiceHistories.joined([], [])):
        assert len(nothing) == 0 and nothing.starts.tolist() == [0]
    assert len(arrays([])) == 0
