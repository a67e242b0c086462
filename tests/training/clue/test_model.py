"""The encoders and the portrait."""

import pytest
import torch
from torch.nn.functional import pad

from portrait.training.clue.batch import Sequences
from tests.training.clue.example import SHAPE, batch, model

TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


def padded(sequences: Sequences, columns: int) -> Sequences:
    left = (columns, 0)
    return Sequences(pad(sequences.items, left, value=-1), pad(sequences.actions, left), pad(sequences.gaps, left))


def test_padding_of_a_text_does_not_move_its_vector() -> None:
    clue = model()
    tokens = torch.tensor([[7, 3, 9], [4, 0, 0]])
    together = clue.items(tokens)
    torch.testing.assert_close(clue.items(pad(tokens, (0, 3))), together, **TOLERANCE)
    torch.testing.assert_close(clue.items(tokens[1:, :1]), together[1:], **TOLERANCE)


@pytest.mark.parametrize("columns", [1, 4, 8])
def test_padding_of_a_sequence_does_not_move_its_vector(columns: int) -> None:
    clue, one = model(), Sequences(torch.tensor([[2]]), torch.tensor([[1]]), torch.tensor([[0]]))
    vectors = clue.items(batch().tokens)
    torch.testing.assert_close(clue.services(padded(one, columns), vectors), clue.services(one, vectors), **TOLERANCE)
    # What stands in the other tensors at padding is nobody's business.
    noisy = padded(one, columns)
    noisy.actions[:, :columns] = 2
    noisy.gaps[:, :columns] = 5
    torch.testing.assert_close(clue.services(noisy, vectors), clue.services(one, vectors), **TOLERANCE)


def test_users_do_not_see_each_other() -> None:
    clue, users = model(), batch()
    vectors = clue.items(users.tokens)
    together = clue.services(users.second, vectors)
    alone = torch.cat([clue.services(users.second[row : row + 1], vectors) for row in range(len(users))])
    torch.testing.assert_close(alone, together, **TOLERANCE)


@pytest.mark.parametrize("what", ["items", "actions", "gaps", "order"])
def test_a_vector_depends_on(what: str) -> None:
    clue = model()
    vectors = clue.items(batch().tokens)
    events = {
        "items": torch.tensor([[0, 1, 2]]),
        "actions": torch.tensor([[1, 1, 1]]),
        "gaps": torch.tensor([[0, 4, 4]]),
    }
    before = clue.services(Sequences(**events), vectors)
    if what == "order":
        events["items"] = events["items"].flip(1)
    else:
        events[what] = events[what] + 1
    assert (clue.services(Sequences(**events), vectors) - before).abs().max() > 1e-4


def test_items_depend_on_the_order_of_their_tokens() -> None:
    one, other = model().items(torch.tensor([[1, 2, 3], [3, 2, 1]]))
    assert (one - other).abs().max() > 1e-4


def test_what_is_empty_is_finite_and_leaves_no_trace() -> None:
    clue = model()
    vectors = clue.items(torch.tensor([[0, 0], [1, 2]]))
    assert vectors[0].eq(0).all() and vectors[1].norm() > 0
    nobody = Sequences(torch.full((2, 3), -1), torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long))
    services = clue.services(nobody, vectors)
    assert services.eq(0).all()
    torch.autograd.backward(services.sum())
    gradients = [weight.grad for weight in clue.parameters() if weight.grad is not None]
    assert gradients and all(gradient.eq(0).all() for gradient in gradients)


def test_service_vectors_have_length_one() -> None:
    clue, users = model(), batch()
    norms = clue.services(users.first, clue.items(users.tokens)).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(len(users)))


def test_a_portrait_is_the_normalised_mean_of_a_users_services() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
    portraits = model().portrait(vectors, torch.tensor([2, 0, 2, 2]), users=3)
    mean = vectors[[0, 2, 3]].mean(dim=0)
    expected = torch.stack([vectors[1], torch.zeros(2), mean / mean.norm()])
    torch.testing.assert_close(portraits, expected)


def test_the_temperature_is_bounded() -> None:
    clue = model()
    assert clue.temperature().item() == pytest.approx(0.07)
    with torch.no_grad():
        clue.log_temperature.fill_(-10.0)
    temperature = clue.temperature()
    assert 1 / temperature.item() == pytest.approx(100, rel=0.01)
    torch.autograd.backward(temperature)
    assert clue.log_temperature.grad is not None and clue.log_temperature.grad > 0  # there is a way back


def test_rows_longer_than_the_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="7 places, but the model has 6 positions"):
        model().items(torch.ones(1, SHAPE.text_length + 1, dtype=torch.long))


def test_a_new_model_knows_one_item_from_another() -> None:
    vectors = model().items(batch().tokens)
    centred = vectors - vectors.mean(dim=0)
    assert centred.square().mean().sqrt().item() > 0.1
