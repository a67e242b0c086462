"""The three objectives."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from portrait.training.clue.objective import CategoryPrediction, Contrast, ObjectiveName, build, info_nce

TEMPERATURE = torch.tensor(0.1)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def by_hand(a: list[list[float]], b: list[list[float]], temperature: float, users: list[int]) -> float:
    def cosine(x: list[float], y: list[float]) -> float:
        return sum(p * q for p, q in zip(x, y, strict=True))

    total = 0.0
    for one, other in ((a, b), (b, a)):
        for i, vector in enumerate(one):
            rivals = [j for j in range(len(other)) if j == i or users[j] != users[i]]
            total -= cosine(vector, other[i]) / temperature
            total += math.log(sum(math.exp(cosine(vector, other[j]) / temperature) for j in rivals))
    return total / (2 * len(a))


@pytest.mark.parametrize("users", [[0, 1, 2, 3, 4], [0, 1, 0, 3, 0], [7, 7, 7, 7, 7]])
def test_info_nce_is_what_a_loop_says(users: list[int]) -> None:
    a, b = unit(5, 3, seed=1), unit(5, 3, seed=2)
    expected = by_hand(a.tolist(), b.tolist(), 0.1, users)
    assert float(info_nce(a, b, TEMPERATURE, torch.tensor(users))) == pytest.approx(expected, rel=1e-5)
    if len(set(users)) == 5:
        assert float(info_nce(a, b, TEMPERATURE)) == pytest.approx(expected, rel=1e-5)


def test_random_vectors_cost_about_the_logarithm_of_the_batch() -> None:
    a, b = unit(1000, 256, seed=1), unit(1000, 256, seed=2)
    assert float(info_nce(a, b, torch.tensor(1.0))) == pytest.approx(math.log(1000), abs=0.01)
    assert float(info_nce(a, a, torch.tensor(0.01))) < 1e-6


def test_both_contrasts_compare_the_two_views() -> None:
    views = unit(6, 2, 4)
    for name in (ObjectiveName.CROSS_SERVICE, ObjectiveName.SAME_SERVICE):
        loss = build(name, dimension=4)(views, TEMPERATURE, None, None)
        assert float(loss) == float(info_nce(views[:, 0], views[:, 1], TEMPERATURE))
    assert not list(Contrast().parameters())


def test_the_order_of_users_does_not_matter() -> None:
    views, users, shares = unit(8, 2, 4), torch.arange(8) % 6, torch.rand(8, 2, 3)
    order = torch.randperm(8)
    for objective in (Contrast(), CategoryPrediction(4, 3)):
        torch.testing.assert_close(
            objective(views[order], TEMPERATURE, users[order], shares[order]),
            objective(views, TEMPERATURE, users, shares),
        )


def test_category_prediction_goes_from_one_view_to_the_other() -> None:
    objective = CategoryPrediction(4, 3)
    views, shares = unit(2, 2, 4), torch.tensor([[[1.0, 0, 0], [0, 0.25, 0.75]], [[0, 1, 0], [0, 0, 0]]])
    logs = objective.head(views / TEMPERATURE).log_softmax(dim=2)
    told = [logs[0, 1, 0], 0.25 * logs[0, 0, 1] + 0.75 * logs[0, 0, 2], logs[1, 1, 1]]  # the last view has none
    torch.testing.assert_close(objective(views, TEMPERATURE, None, shares), -sum(told) / 3)


def test_the_head_learns_a_planted_mapping() -> None:
    torch.manual_seed(0)
    objective, planted = CategoryPrediction(8, 4), torch.randn(8, 4)
    views = unit(256, 1, 8).expand(-1, 2, -1)  # both views say the same, so either tells the other's categories
    shares = (views @ planted * 3).softmax(dim=2)
    entropy = float(-(shares * shares.log()).sum(dim=2).mean())
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.05)
    before = objective(views, TEMPERATURE, None, shares).item()
    for _ in range(200):
        optimiser.zero_grad()
        torch.autograd.backward(objective(views, TEMPERATURE, None, shares))
        optimiser.step()
    assert before > entropy + 0.5
    assert objective(views, TEMPERATURE, None, shares).item() < entropy + 0.01


def test_categories_are_asked_for() -> None:
    with pytest.raises(ValueError, match="categories=0"):
        build(ObjectiveName.CATEGORY, dimension=4)
    with pytest.raises(ValueError, match="has no categories"):
        build(ObjectiveName.CATEGORY, dimension=4, categories=2)(unit(2, 2, 4), TEMPERATURE, None, None)
