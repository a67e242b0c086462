"""Batches of a CLUE run: shares of the same batches, distinct items, and one set of candidates."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait.registry.errors import InvalidInput
from portrait.training.clue.batch import Batch
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.prepare import PreparedSequences, prepare
from portrait.training.clue.trainee import ClueTrainee
from tests.training.example import inputs, population

CONFIG = ClueConfig(size="nano", vocabulary=400, batch_size=22, epoch_steps=5, dimension=8, categories=6)
CPU = torch.device("cpu")
Make = Callable[..., ClueTrainee]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The prepared data of each objective."""
    made = {name: tmp_path_factory.mktemp(name) for name in ObjectiveName}
    for name, folder in made.items():
        prepare(inputs(population()), replace(CONFIG, objective=name), folder, lambda *_, **__: None)
    return {str(name): folder for name, folder in made.items()}


@pytest.fixture
def make(folders: dict[str, Path]) -> Make:
    def made(**changes: object) -> ClueTrainee:
        config = replace(CONFIG, **changes)  # type: ignore[arg-type]
        return ClueTrainee(PreparedSequences(folders[config.objective]), config, CPU)

    return made


def all_batches(trainee: ClueTrainee, rank: int = 0, world: int = 1, epoch: int = 0) -> list[Batch]:
    return list(trainee.batches(epoch, rank, world))


def texts(batch: Batch) -> list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]]:
    """The tokens of the events of both views of each user."""
    rows = [tuple(token for token in row if token) for row in batch.tokens.tolist()]

    def of(items: torch.Tensor) -> list[tuple[int, ...]]:
        return [rows[item] for item in items.tolist() if item >= 0]

    return [(of(a), of(b)) for a, b in zip(batch.first.items, batch.second.items, strict=True)]


def test_every_item_of_a_batch_is_encoded_once(make: Make) -> None:
    for batch in all_batches(make()):
        rows = [tuple(row) for row in batch.tokens.tolist()]
        assert max(Counter(rows).values()) <= 2  # music and shop have the same texts
        used = torch.cat([batch.first.items.flatten(), batch.second.items.flatten()]).unique()
        assert used[used >= 0].tolist() == list(range(len(rows)))
        assert (batch.tokens > 0).any(dim=1).all() and (batch.tokens > 0).any(dim=0).all()  # no padding that all have


@pytest.mark.parametrize("objective", ObjectiveName)
def test_two_workers_have_equal_parts_of_the_one_workers_batches(make: Make, objective: ObjectiveName) -> None:
    trainee = make(objective=str(objective))
    whole, parts = all_batches(trainee), [all_batches(trainee, rank, 2) for rank in (0, 1)]
    assert len(whole) == len(parts[0]) == len(parts[1]) == trainee.steps >= CONFIG.epoch_steps
    for one, first, second in zip(whole, *parts, strict=True):
        assert (len(one), len(first), len(second)) == (22, 11, 11)
        expected, found = texts(one), [texts(first), texts(second)]
        assert [expected[0::2], expected[1::2]] == found
        if objective == ObjectiveName.CATEGORY:
            assert one.categories is not None and first.categories is not None
            torch.testing.assert_close(first.categories, one.categories[0::2])


def test_three_workers_have_equal_parts_too(make: Make) -> None:
    parts = [all_batches(make(), rank, 3) for rank in range(3)]
    assert {len(batch) for part in parts for batch in part} == {7}  # of 22
    with pytest.raises(InvalidInput, match="22 users a step are too few for 23 workers"):
        next(make().batches(0, 0, 23))


def test_epochs_and_seeds_differ_and_repeat(make: Make) -> None:
    first = [texts(batch) for batch in all_batches(make())]
    assert first == [texts(batch) for batch in all_batches(make())]
    assert first != [texts(batch) for batch in all_batches(make(), epoch=1)]
    assert first != [texts(batch) for batch in all_batches(make(seed=1))]


def test_a_pass_shows_everybody_at_most_once(make: Make) -> None:
    trainee = make()
    seen: list[int] = []
    trainee._batch = lambda users, rng, share: seen.extend(users.tolist())  # type: ignore[method-assign,assignment,return-value]
    all_batches(trainee)
    assert set(seen) <= set(trainee.training.tolist()) and not set(seen) & set(trainee.held_out.tolist())
    passed = len(trainee.training) // 22 * 22
    assert len(seen) == trainee.steps * 22 and len(set(seen[:passed])) == passed


def test_who_is_held_out_does_not_depend_on_who_is_trained_on(make: Make) -> None:
    everybody = make()
    for changes in ({"most_users": 30}, {"seed": 5}, {"batch_size": 4}):
        other = make(**changes)
        np.testing.assert_array_equal(other.held_out, everybody.held_out)
        assert set(other.training.tolist()) <= set(everybody.training.tolist())
    assert len(make(most_users=30).training) == 30
    assert len(make(candidates=5).held_out) == 5
    views = everybody.views.users
    assert sorted([*everybody.held_out, *everybody.training]) == views.tolist() and len(everybody.held_out) == 10
    assert len(make(held_out=0.999).training) == 2 and len(make(held_out=0.0).held_out) == 2


@pytest.mark.parametrize("objective", ObjectiveName)
def test_the_held_out_loss_is_the_same_every_time(make: Make, objective: ObjectiveName) -> None:
    trainee = make(objective=str(objective))
    with torch.no_grad():
        before = trainee.held_out_loss()
        assert trainee.held_out_loss() == before == make(objective=str(objective), most_users=30).held_out_loss()
        assert make(objective=str(objective), chunk=3).held_out_loss() == pytest.approx(before, rel=1e-5)
    for batch in all_batches(trainee):
        trainee.optimiser.param_groups[0]["lr"] = 1e-3
        trainee.backward(batch)
        trainee.optimiser.step()
    with torch.no_grad():
        assert trainee.held_out_loss() != before


def test_gradients_in_chunks_are_those_of_the_whole(make: Make) -> None:
    found = {}
    for chunk in (0, 5):
        trainee = make(chunk=chunk)
        loss = trainee.backward(all_batches(trainee)[0])
        found[chunk] = loss.item(), trainee.clue.item_encoder.tokens.weight.grad
    assert found[5][0] == pytest.approx(found[0][0], rel=1e-5)
    torch.testing.assert_close(found[5][1], found[0][1], rtol=1e-3, atol=1e-6)


def test_categories_are_the_shares_of_the_items(make: Make) -> None:
    trainee = make(objective="category")
    batch, known = all_batches(trainee)[0], trainee._prepared
    assert batch.categories is not None and known.categories is not None
    torch.testing.assert_close(batch.categories.sum(dim=2), torch.ones(22, 2))
    of_text = {
        tuple(token for token in row if token): category
        for row, category in zip(known.tokens.tolist(), known.categories.tolist(), strict=True)
    }
    for user, views in enumerate(texts(batch)):
        for view, events in enumerate(views):
            counts = np.bincount([of_text[text] for text in events], minlength=batch.categories.shape[2])
            np.testing.assert_allclose(batch.categories[user, view], counts / len(events), rtol=1e-6)


def test_no_categories_without_the_objective(make: Make) -> None:
    assert all_batches(make())[0].categories is None
