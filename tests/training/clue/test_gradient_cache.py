"""Gradients in chunks, over workers, and of items that are encoded once: the same as of one plain graph."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from portrait.training.clue import like_length
from portrait.training.clue.batch import Batch, Sequences
from portrait.training.clue.gradient_cache import encode, step
from portrait.training.clue.model import Clue
from portrait.training.clue.objective import ObjectiveName, build
from portrait.training.runs.training_loop import _average_gradients
from tests.training.clue.example import CATEGORIES, SHAPE, batch, gradients, largest_difference, model, texts

Gradients = dict[str, torch.Tensor]
TOLERANCE = 1e-5
CHUNKS = [1, 20, 55, 1000]  # places of tokens or events: some hold a single row, some a few, the last all
CONTRAST, CATEGORY = ObjectiveName.CROSS_SERVICE, ObjectiveName.CATEGORY


def objective(name: ObjectiveName) -> nn.Module:
    torch.manual_seed(3)
    return build(name, SHAPE.dimension, CATEGORIES)


def plain(name: ObjectiveName, users: Batch) -> tuple[float, Gradients]:
    """One graph from the tokens to the loss, as a textbook has it."""
    clue, loss_of = model(), objective(name)
    items = clue.items(users.tokens)
    views = torch.stack([clue.services(users.first, items), clue.services(users.second, items)], dim=1)
    loss = loss_of(views, clue.temperature(), users.users, users.categories)
    torch.autograd.backward(loss)
    return loss.item(), gradients(clue, loss_of)


def stepped(name: ObjectiveName, users: Batch, chunk: int | None) -> tuple[float, Gradients]:
    clue, loss_of = model(), objective(name)
    loss = step(clue, loss_of, users, chunk)
    assert not loss.requires_grad
    return loss.item(), gradients(clue, loss_of)


@pytest.mark.parametrize("name", [CONTRAST, CATEGORY])
@pytest.mark.parametrize("chunk", [None, *CHUNKS])
@pytest.mark.parametrize("worth", [like_length.WORTH, 1])
def test_chunks_and_groups_change_no_gradient(
    name: ObjectiveName, chunk: int | None, worth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(like_length, "WORTH", worth)  # 1: a group for every length
    expected_loss, expected = plain(name, batch())
    loss, found = stepped(name, batch(), chunk)
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE)
    assert {"item_encoder.tokens.weight", "service_encoder.out.weight", "log_temperature"} <= found.keys()
    assert ("head.weight" in found) == (name == CATEGORY)
    assert largest_difference(found, expected) < TOLERANCE


def test_gradients_are_added_to_those_that_are_there() -> None:
    clue, loss_of = model(), objective(CONTRAST)
    step(clue, loss_of, batch(), chunk=20)
    once = gradients(clue)
    step(clue, loss_of, batch(), chunk=20)
    assert largest_difference(gradients(clue), {name: 2 * gradient for name, gradient in once.items()}) < TOLERANCE


def every_event_its_item(users: Batch) -> Batch:
    """The same batch with the tokens of every single event in a row of their own."""
    tokens: list[torch.Tensor] = []

    def spread(view: Sequences) -> Sequences:
        valid = view.items >= 0
        start = sum(len(part) for part in tokens)
        tokens.append(users.tokens[view.items[valid]])
        items = torch.full_like(view.items, -1)
        items[valid] = torch.arange(start, start + int(valid.sum()))
        return replace(view, items=items)

    first, second = spread(users.first), spread(users.second)
    return replace(users, tokens=torch.cat(tokens), first=first, second=second)


@pytest.mark.parametrize("chunk", [None, 25])
def test_encoding_an_item_once_is_encoding_it_at_every_event(chunk: int | None) -> None:
    naive = every_event_its_item(batch())
    assert len(naive.tokens) > 3 * len(batch().tokens)
    expected_loss, expected = plain(CONTRAST, naive)
    loss, found = stepped(CONTRAST, batch(), chunk)
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE)
    assert largest_difference(found, expected) < TOLERANCE


def test_the_order_of_users_does_not_matter() -> None:
    users, order = batch(), torch.randperm(11, generator=torch.Generator().manual_seed(5))
    assert users.users is not None and users.categories is not None
    shuffled = Batch(users.tokens, users.first[order], users.second[order], users.users[order], users.categories[order])
    loss, found = stepped(CONTRAST, shuffled, 20)
    expected_loss, expected = stepped(CONTRAST, users, 20)
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE)
    assert largest_difference(found, expected) < TOLERANCE


def test_encoding_keeps_a_graph_only_without_chunks() -> None:
    clue = model()
    for chunk in (None, 20):
        items, views = encode(clue, batch(), chunk)
        assert items.shape == (23, SHAPE.width) and views.shape == (11, 2, SHAPE.dimension)
        assert items.requires_grad == views.requires_grad == (chunk is None)
    with torch.no_grad():
        assert not encode(clue, batch())[1].requires_grad


@pytest.mark.parametrize("chunk", [None, 20])
def test_bfloat16_takes_nearly_the_same_step_with_a_loss_in_float32(chunk: int | None) -> None:
    _, expected = stepped(CONTRAST, batch(), None)
    clue, loss_of = model(), objective(CONTRAST)
    assert step(clue, loss_of, batch(), chunk, autocast=True).dtype == torch.float32
    found = gradients(clue)
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    assert 1e-4 < largest_difference(found, expected) < 0.1


def work(rank: int, name: ObjectiveName, chunk: int | None, shares: list[Batch], folder: Path) -> None:
    """One of the workers: a step on its share, then the loop's averaging."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / 'rendezvous'}"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=len(shares))
    both = nn.ModuleDict({"clue": model(), "objective": objective(name)})
    clue = both["clue"]
    assert isinstance(clue, Clue)
    loss = step(clue, both["objective"], shares[rank], chunk, world=len(shares))
    _average_gradients(both, len(shares))
    torch.save((loss.item(), gradients(clue, both["objective"])), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def shares_of(whole: Batch, workers: int) -> list[Batch]:
    """Equal shares, each with its own table of items in an order of its own."""
    assert whole.users is not None and whole.categories is not None
    size = len(whole) // workers
    shares = []
    for rank in range(workers):
        rows = slice(rank * size, (rank + 1) * size)
        first, second = whole.first[rows], whole.second[rows]
        used = torch.cat([first.items.flatten(), second.items.flatten()]).unique()
        used = used[used >= 0].flip(0)
        place = torch.full((len(whole.tokens) + 1,), -1)  # the last one is that of padding
        place[used] = torch.arange(len(used))
        views = [replace(view, items=place[view.items]) for view in (first, second)]
        shares.append(Batch(whole.tokens[used], *views, whole.users[rows], whole.categories[rows]))
    return shares


@pytest.mark.parametrize(("name", "chunk"), [(CONTRAST, 20), (CATEGORY, None)])
def test_two_workers_take_the_step_of_one(
    name: ObjectiveName, chunk: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    whole = batch(users=12)
    expected_loss, expected = plain(name, whole)
    multiprocessing.spawn(work, (name, chunk, shares_of(whole, 2), tmp_path), nprocs=2)
    for rank in range(2):
        loss, found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert loss == pytest.approx(expected_loss, rel=TOLERANCE)
        assert largest_difference(found, expected) < TOLERANCE


def test_a_small_model_learns_64_users_by_heart() -> None:
    generator = torch.Generator().manual_seed(0)
    tastes = torch.arange(64 * 4).view(64, 4)  # every user has four items of its own, four events in each view
    views = []
    for _ in range(2):
        picks = torch.randint(0, 4, (64, 4), generator=generator)
        items = tastes.gather(1, picks)
        views.append(Sequences(items, torch.ones_like(items), torch.full_like(items, 5)))
    users = Batch(texts(64 * 4, generator), *views)
    clue, loss_of = model(), objective(CONTRAST)
    optimiser = torch.optim.AdamW(clue.parameters(), lr=5e-3, weight_decay=1e-2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        losses.append(step(clue, loss_of, users, chunk=200).item())
        optimiser.step()
    assert losses[0] > 0.5 * math.log(64)
    assert losses[-1] < 0.1
