"""Coordinates of z: the decoder's output stays, and distances are those between the users' blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.autoencoder.geometry import settle
from portrait.training.autoencoder.model import Autoencoder
from portrait.training.blocks.blocks import Block, BlockKind

BLOCKS = (
    Block("taste", BlockKind.VECTOR, 6, behaviour=True),
    Block("counts", BlockKind.NUMBERS, 4, behaviour=True),
    Block("country", BlockKind.CATEGORY, 1, categories=3),
)
SIZE = 8
EVEN = AutoencoderConfig(numbers_distance=1.0, category_distance=1.0)


@pytest.fixture
def rows() -> torch.Tensor:
    """500 users; the first two numbers of the taste say nearly all of it, and some users have none."""
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(500, 6)) * [1.5, 1.5, 0.3, 0.3, 0.3, 0.3]
    taste[::9] = np.nan
    country = rng.choice(3, size=(500, 1), p=[0.6, 0.3, 0.1]).astype(float)
    country[::7] = np.nan
    return torch.from_numpy(np.concatenate([taste, rng.normal(size=(500, 4)), country], axis=1)).float()


@pytest.fixture
def model() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(BLOCKS, SIZE, (16,)).eval()


def distances(vectors: np.ndarray) -> np.ndarray:
    differences = (vectors[:, None] - vectors[None]).astype(np.float64)
    return (differences**2).sum(axis=2)


def told(model: Autoencoder, rows: torch.Tensor, numbers: float, categories: float) -> np.ndarray:
    """What z says of the weighted blocks, by least squares, written out by hand."""
    dense, codes, _ = model.standardised(rows)
    weighted = dense.numpy() * np.sqrt([1 / 6] * 6 + [numbers / 4] * 4)
    country = np.eye(4)[codes[:, 0].numpy()][:, 1:]
    shares = country.mean(axis=0)
    x = np.concatenate([weighted, country * np.sqrt(categories / (shares * (1 - shares)).sum())], axis=1)
    z = model.compress(rows).detach().numpy().astype(np.float64)
    design = np.concatenate([z, np.ones((len(z), 1))], axis=1)
    return design @ np.linalg.lstsq(design, x, rcond=None)[0]


@pytest.mark.parametrize(("numbers", "categories"), [(0.3, 0.3), (3.0, 1.0), (1.0, 2.0)])
@torch.no_grad()
def test_distances_are_those_of_what_z_tells(
    model: Autoencoder, rows: torch.Tensor, numbers: float, categories: float
) -> None:
    expected = distances(told(model, rows, numbers, categories))
    before = distances(model.compress(rows).numpy())
    weights = AutoencoderConfig(numbers_distance=numbers, category_distance=categories)
    settle(model, BLOCKS, rows.split(128), weights)
    found = distances(model.compress(rows).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-2 * expected.max())
    assert np.abs(before / before.mean() - expected / expected.mean()).max() > 1  # it had others


@torch.no_grad()
def test_all_dimensions_have_nearly_the_same_deviation(model: Autoencoder, rows: torch.Tensor) -> None:
    settle(model, BLOCKS, [rows], EVEN)
    z = model.compress(rows).numpy()
    variance = np.linalg.eigvalsh(np.cov(z.T))
    assert variance.max() > 5 * variance.min()  # directions differ,
    assert z.std(axis=0).max() < 2 * z.std(axis=0).min()  # dimensions hardly: the rotation has mixed them


@torch.no_grad()
def test_the_decoder_tells_the_same_as_before(model: Autoencoder, rows: torch.Tensor) -> None:
    nothing_hidden, no_noise = torch.zeros(500, 3, dtype=torch.bool), torch.zeros(500, SIZE)
    before = model.losses(rows, nothing_hidden, no_noise)
    settle(model, BLOCKS, [rows], EVEN)
    assert torch.allclose(model.losses(rows, nothing_hidden, no_noise), before, rtol=1e-3)


@torch.no_grad()
def test_the_seed_decides_the_rotation_and_chunks_nothing(rows: torch.Tensor) -> None:
    def settled(seed: int, chunk: int) -> np.ndarray:
        torch.manual_seed(0)
        model = Autoencoder(BLOCKS, SIZE, (16,)).eval()
        settle(model, BLOCKS, rows.split(chunk), replace(EVEN, seed=seed))
        return model.compress(rows).numpy()

    np.testing.assert_allclose(settled(0, 500), settled(0, 77), atol=1e-4)
    assert np.abs(settled(0, 500) - settled(1, 500)).max() > 0.1


@torch.no_grad()
def test_a_z_that_says_nothing_stays_finite(rows: torch.Tensor) -> None:
    model = Autoencoder(BLOCKS, SIZE, (16,)).eval()
    for weights in model.parameters():
        weights.zero_()
    settle(model, BLOCKS, [rows], EVEN)
    assert np.isfinite(model.compress(rows).numpy()).all()
