"""Cross-service examples: who is asked for what, and which events may be seen."""

import numpy as np
import pyarrow as pa
import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.evaluation.cross_service import LABELS, Seen, cross_service_task, training_users
from portrait.training.evaluation.event_choice import LISTS, owners, with_events
from portrait.training.metrics.user_split import UserPart, part_of
from tests.training.example import inputs, population

USERS = 400


@pytest.fixture(scope="module")
def users() -> pa.Table:
    return population(USERS)


def test_parts_are_disjoint_and_about_as_large_as_said() -> None:
    parts = [part_of(f"user-{n}") for n in range(10_000)]
    assert parts == [part_of(f"user-{n}") for n in range(10_000)]
    shares = [parts.count(part) / len(parts) for part in UserPart]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.02)


def test_the_encoder_sees_the_training_users_alone(users: pa.Table) -> None:
    seen = pa.concat_tables(training_users(inputs(users).tables()))["user_id"].to_pylist()
    assert {part_of(user) for user in seen} == {UserPart.TRAIN}
    assert sorted(seen) == [user for user in users["user_id"].to_pylist() if part_of(user) == UserPart.TRAIN]


def test_examples_against_reading_the_rows(users: pa.Table) -> None:
    task = cross_service_task(users, "shop")
    rows = {row["user_id"]: row for row in users.to_pylist()}
    known = {
        item
        for row in rows.values()
        for service, item in zip(row["services"], row["item_ids"], strict=True)
        if service == "shop" and part_of(row["user_id"]) != UserPart.TEST
    }
    assert task.items.values == sorted(known)
    for part, examples in task.parts.items():
        ids = examples.users["user_id"].to_pylist()
        expected = [
            user
            for user, row in rows.items()
            if part_of(user) == part and "music" in row["services"]
            for _ in range(min(LABELS if part == UserPart.TRAIN else 1, _shop(row, known)))
        ]
        assert sorted(ids) == sorted(expected) and ids
        starts = np.searchsorted(owners(examples.users), np.arange(len(ids)))
        marks = examples.hidden.toarray()
        for n, user in enumerate(ids):
            row, place = rows[user], examples.target[n] - starts[n]
            assert row["services"][place] == "shop"
            assert row["item_ids"][place] == task.items.values[examples.item[n]]
            had = {i for s, i in zip(row["services"][:place], row["item_ids"][:place], strict=True) if s == "shop"}
            hidden = {task.items.values[code] for code in np.flatnonzero(marks[n])}
            assert hidden == (had & known) - {row["item_ids"][place]}


def test_what_users_had_is_held_by_what_they_had_and_not_by_what_there_is(users: pa.Table) -> None:
    for examples in cross_service_task(users, "shop").parts.values():
        assert examples.hidden.shape[0] == len(examples) and examples.hidden.dtype == np.bool_
        assert examples.hidden.nnz <= (np.bincount(owners(examples.users), minlength=len(examples)) - 1).sum()


def _shop(row: dict[str, list[str]], known: set[str]) -> int:
    return sum(s == "shop" and i in known for s, i in zip(row["services"], row["item_ids"], strict=True))


@pytest.mark.parametrize("clock", [True, False])
def test_nothing_is_seen_of_what_is_asked_for_nor_of_what_came_after(users: pa.Table, clock: bool) -> None:
    examples = cross_service_task(users, "shop").parts[UserPart.TRAIN]
    whole = examples.users["event_ids"].to_pylist()
    asked = examples.users["event_ids"].combine_chunks().flatten().take(pa.array(examples.target)).to_pylist()
    tables = {seen: examples.seen("shop", seen, clock) for seen in Seen}
    for n, event in enumerate(asked):
        services = {seen: table["services"][n].as_py() for seen, table in tables.items()}
        events = {seen: table["event_ids"][n].as_py() for seen, table in tables.items()}
        assert set(services[Seen.OWN]) <= {"shop"} and "shop" not in services[Seen.OTHER]
        assert sorted(events[Seen.OWN] + events[Seen.OTHER]) == sorted(events[Seen.BOTH])
        before = whole[n][: whole[n].index(event)]
        assert set(events[Seen.OWN]) <= set(before) and event not in events[Seen.BOTH]
        assert not clock or set(events[Seen.BOTH]) == set(before)
    assert all(table["onboarding_items"].null_count == len(asked) for table in tables.values())


def test_events_are_left_out_of_all_columns_alike(users: pa.Table) -> None:
    kept = np.random.default_rng(0).random(len(owners(users))) < 0.3
    fewer = with_events(users, kept)
    for name in LISTS:
        flat = users[name].combine_chunks().flatten().to_pylist()
        assert fewer[name].combine_chunks().flatten().to_pylist() == [
            v for v, keep in zip(flat, kept, strict=True) if keep
        ]
    assert (owners(fewer) == owners(users)[kept]).all()


def test_too_few_users_are_said(users: pa.Table) -> None:
    with pytest.raises(InvalidInput, match="nobody has events in 'books'; the services are: music, shop"):
        cross_service_task(users, "books")
    with pytest.raises(InvalidInput, match=r"\d+ \w+ users have events in shop and in another service"):
        cross_service_task(users.slice(0, 40), "shop")
