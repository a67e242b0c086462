"""Routing to a canary: the same users every time, as many as asked for, and others for each canary."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait.serving.state.routing import CANARY, STABLE, Route, in_canary, routes, served_versions
from tests.serving.twin_source import TwinSource, version

USERS = [f"user-{number}" for number in range(100_000)]
STABLE_VERSION, CANARY_VERSION = version("autoencoder-1"), version("autoencoder-2")


@cache
def mask(share: float, consumer: str = "ranker", canary: str = "autoencoder-2") -> np.ndarray:
    return inside(Route(consumer, STABLE_VERSION, version(canary), share), USERS)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.99])
def test_as_many_users_as_the_share_says(share: float) -> None:
    # Five standard deviations of a binomial: by chance one run in millions is outside.
    allowed = 5 * math.sqrt(len(USERS) * share * (1 - share))
    assert abs(mask(share).sum() - len(USERS) * share) < allowed


def test_widening_keeps_everyone_who_was_in() -> None:
    shares = (0.001, 0.05, 0.051, 0.5, 0.99, 1 - 2**-53)
    masks = [mask(share) for share in shares]
    for narrow, wide in pairwise(masks):
        assert (wide | ~narrow).all() and wide.sum() > narrow.sum()
    assert masks[-1].all()


@pytest.mark.parametrize(
    ("consumer", "canary"), [("ranker", "autoencoder-3"), ("search", "autoencoder-2"), ("ranke", "r/autoencoder-2")]
)
def test_another_canary_or_consumer_picks_other_users(consumer: str, canary: str) -> None:
    one, other, share = mask(0.2), mask(0.2, consumer, canary), 0.04
    allowed = 5 * math.sqrt(len(USERS) * share * (1 - share))
    assert abs((one & other).sum() - len(USERS) * share) < allowed


def test_long_names_are_told_apart_to_their_last_letter() -> None:
    consumer = "c" * 64
    one, other = mask(0.5, consumer, "autoencoder-1"), mask(0.5, consumer, "autoencoder-2")
    assert abs((one & other).sum() - len(USERS) / 4) < 5 * math.sqrt(len(USERS) * 0.25 * 0.75)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.floats(1e-9, 1, exclude_max=True))
def test_one_user_and_many_are_split_alike(user: str, share: float) -> None:
    route = Route("ranker", STABLE_VERSION, CANARY_VERSION, share)
    assert inside(route, [user, "ada", user]).tolist()[::2] == [in_canary("ranker", "autoencoder-2", user, share)] * 2


def test_the_split_is_the_same_in_every_process_and_release() -> None:
    # Written down, as a release that draws otherwise would move users between versions in the middle of a canary.
    drawn = [number for number in range(40) if in_canary("ranker", "autoencoder-2", f"user-{number}", 0.2)]
    assert drawn == [4, 8, 13, 14, 21, 23, 30, 32, 34, 38]


def test_a_request_by_lanes() -> None:
    route = Route("ranker", STABLE_VERSION, CANARY_VERSION, 0.5)
    users = USERS[:50]
    inside = [in_canary("ranker", "autoencoder-2", user, 0.5) for user in users]
    (stable, canary), there = route.split(users)
    assert there is not None and there.tolist() == inside
    assert (stable.version, stable.lane) == (STABLE_VERSION, STABLE)
    assert (canary.version, canary.lane) == (CANARY_VERSION, CANARY)
    assert canary.users == [user for user, one in zip(users, inside, strict=True) if one]
    assert stable.users == [user for user, one in zip(users, inside, strict=True) if not one]


@pytest.mark.parametrize(("share", "lane"), [(1e-12, STABLE), (1 - 2**-53, CANARY)])
def test_users_of_one_lane_are_one_part(share: float, lane: str) -> None:
    (part,), there = Route("ranker", STABLE_VERSION, CANARY_VERSION, share).split(USERS[:9])
    assert part.lane == lane and part.users == USERS[:9] and there is None


def test_without_a_canary_the_request_is_not_touched() -> None:
    (part,), there = Route("ranker", STABLE_VERSION).split(USERS)
    assert part.users is USERS and (part.version, part.lane) == (STABLE_VERSION, STABLE) and there is None
    assert not inside(Route("ranker", STABLE_VERSION), USERS[:3]).any()


def test_routes_of_a_state() -> None:
    source = TwinSource()
    source.try_out("ranker", "autoencoder-2", 0.25)
    state = source.read()
    made = routes(state)
    assert set(made) == {"ranker", "search"}
    assert made["ranker"] == Route("ranker", STABLE_VERSION, CANARY_VERSION, 0.25)
    assert made["search"] == Route("search", CANARY_VERSION)
    assert [served.id for served in served_versions(state)] == ["autoencoder-1", "autoencoder-2"]
    alone = {"search": state.assignments["search"]}
    assert [served.id for served in served_versions(replace(state, assignments=alone))] == ["autoencoder-2"]


def inside(route: Route, users: list[str]) -> np.ndarray:
    """Which users read the canary, [n]."""
    split = route.split(users)
    return np.full(len(users), split.parts[0].lane == "canary") if split.in_canary is None else split.in_canary
