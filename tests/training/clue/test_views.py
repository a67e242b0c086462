"""Two views of a user: two services, two halves of the only one, or two crops."""

import numpy as np
import pytest
from torch import Tensor

from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.views import SHORTEST_CROP, Views
from tests.training.clue.made import SECOND, User, histories, simple

CROSS, SAME, CATEGORY = ObjectiveName
SEEDS = range(30)
DIVERSE = simple((4, 7, 2), (9,), (1, 1), (1,), (2,), (1, 6), ())


def drawn(of: ServiceHistories, objective: ObjectiveName, seed: int, *users: int) -> list[tuple[list[int], list[int]]]:
    """The items of both views of each user."""
    first, second = Views(of, objective).draw(np.array(users), np.random.default_rng(seed))
    assert len(first) == len(second) == len(users)
    return [(items(a), items(b)) for a, b in zip(first.items, second.items, strict=True)]


def items(row: Tensor) -> list[int]:
    return [item for item in row.tolist() if item >= 0]


def services(of: ServiceHistories, user: int) -> list[list[int]]:
    rows = np.flatnonzero(of.user == user)
    return [of.items[of.starts[row] : of.starts[row + 1]].tolist() for row in rows]


def test_everybody_with_two_events_is_seen() -> None:
    assert Views(DIVERSE, CROSS).users.tolist() == [0, 1, 2, 4, 5]
    for objective in (SAME, CATEGORY):  # a service with a single event cannot be cut in two
        assert Views(DIVERSE, objective).users.tolist() == [0, 1, 4, 5]
    for objective in ObjectiveName:
        assert Views(simple(), objective).users.tolist() == []


def test_across_services_the_views_are_two_whole_services_of_the_user() -> None:
    seen = set()
    for seed in SEEDS:
        for user, (a, b) in zip((0, 2, 5), drawn(DIVERSE, CROSS, seed, 0, 2, 5), strict=True):
            own = services(DIVERSE, user)
            assert a in own and b in own and a != b
            seen.add((user, own.index(a), own.index(b)))
    assert len(seen) == 6 + 2 + 2  # every ordered pair, sooner or later


def test_a_user_of_one_service_is_seen_in_two_halves_of_time() -> None:
    for objective in (CROSS, CATEGORY):
        for seed in SEEDS:
            [(older, newer), (first, last)] = drawn(DIVERSE, objective, seed, 1, 4)
            assert [older + newer] == services(DIVERSE, 1) and (len(older), len(newer)) == (4, 5)
            assert [first + last] == services(DIVERSE, 4) and len(first) == len(last) == 1


def test_within_a_service_it_is_one_with_two_events() -> None:
    """User 5 has a service with a single event, which has no halves."""
    for objective in (SAME, CATEGORY):
        for seed in SEEDS:
            [(a, b)] = drawn(DIVERSE, objective, seed, 5)
            assert a and b and set(a) | set(b) <= set(services(DIVERSE, 5)[1])
    whose = {tuple(sorted(a + b)) for seed in SEEDS for a, b in drawn(DIVERSE, CATEGORY, seed, 0)}
    assert whose == {tuple(service) for service in services(DIVERSE, 0)}  # each of them is taken


def test_crops_are_parts_in_another_order() -> None:
    [[*whole]] = services(DIVERSE, 1)
    shuffled, sizes, pairs = 0, set(), set()
    for seed in SEEDS:
        [crops] = drawn(DIVERSE, SAME, seed, 1)
        for crop in crops:
            begin = whole.index(min(crop))
            assert sorted(crop) == whole[begin : begin + len(crop)] and len(crop) >= SHORTEST_CROP * len(whole)
            shuffled += crop != sorted(crop)
            sizes.add(len(crop))
        pairs.add(tuple(map(tuple, crops)))
    assert shuffled > 50 and sizes == {5, 6, 7, 8, 9} and len(pairs) == len(SEEDS)


def test_picks_are_a_service_to_be_compared_with() -> None:
    of = histories([User([(n * SECOND, 0, n, 0) for n in range(3)], picks=(7, 8))])
    assert {tuple(map(tuple, views)) for seed in SEEDS for views in drawn(of, CROSS, seed, 0)} == {
        ((0, 1, 2), (7, 8)),
        ((7, 8), (0, 1, 2)),
    }


@pytest.mark.parametrize("objective", ObjectiveName)
def test_the_same_generator_draws_the_same(objective: ObjectiveName) -> None:
    users = Views(DIVERSE, objective).users.tolist()
    assert drawn(DIVERSE, objective, 1, *users) == drawn(DIVERSE, objective, 1, *users)
    assert drawn(DIVERSE, objective, 1, *users) != drawn(DIVERSE, objective, 2, *users)
