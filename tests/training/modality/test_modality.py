"""Modality encoders: near items get near vectors."""

import numpy as np
import pyarrow as pa
import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.modality import collaborative as collaborative_module
from portrait.training.modality import latent as latent_module
from portrait.training.modality.collaborative import Cooccurrence, collaborative_modality
from portrait.training.modality.latent import Histories, latent_modality
from portrait.training.modality.ready import ready_modalities
from portrait.training.modality.text import fit
from tests.training.example import catalogue


def pairs(window: int, user: list[int], item: list[int], items: int = 4) -> np.ndarray:
    counted = Cooccurrence(items, window)
    counted.add(np.array(user), np.array(item))
    return counted.counts().toarray()


def test_cooccurrence_counts_pairs_within_the_window() -> None:
    found = pairs(2, [0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 0, 3])
    expected = np.zeros((4, 4))
    for left, right in [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)]:
        expected[left, right] = expected[right, left] = 1
    np.testing.assert_array_equal(found, expected)


def test_unknown_and_rare_items_do_not_take_part() -> None:
    np.testing.assert_array_equal(pairs(1, [0, 0, 0], [0, -1, 1], 2), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(pairs(1, [0, 0, 0], [0, 5, 1], 2), [[0, 1], [1, 0]])
    assert not pairs(3, [], []).any() and not pairs(3, [0, 1], [0, 0]).any()


def test_buckets_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    user, item = np.sort(rng.integers(0, 50, 1000)), rng.integers(0, 30, 1000)
    monkeypatch.setattr(collaborative_module, "MERGE_FROM", 100)
    parts = Cooccurrence(30, 3)
    for bucket in range(5):
        mine = user % 5 == bucket
        parts.add(user[mine], item[mine])
    np.testing.assert_array_equal(parts.counts().toarray(), pairs(3, user.tolist(), item.tolist(), 30))


def test_items_of_the_same_users_are_near() -> None:
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 2, 200)
    user = np.repeat(np.arange(200), 10)
    item = rng.integers(0, 10, 2000) + 10 * np.repeat(taste, 10)
    counted = Cooccurrence(21, 5)
    counted.add(user, item)
    found = collaborative_modality(counted, 6, 0, items=25)
    assert found is not None and found.dimension == 6
    assert np.isnan(found.vectors[20:]).all()  # never touched, or not counted at all
    near = found.vectors[:20] @ found.vectors[:20].T
    same = np.equal.outer(np.arange(20) < 10, np.arange(20) < 10)
    assert near[same].mean() > near[~same].mean() + 0.3
    np.testing.assert_allclose(np.linalg.norm(found.vectors[:20], axis=1), 1, atol=1e-5)
    again = collaborative_modality(counted, 6, 0, items=25)
    assert again is not None
    np.testing.assert_array_equal(found.vectors, again.vectors)


def test_nothing_together_is_no_modality() -> None:
    assert collaborative_modality(Cooccurrence(5, 3), 6, 0, items=5) is None


def histories(user: np.ndarray, item: np.ndarray, users: int, items: int) -> Histories:
    had = Histories(items)
    for start in range(0, users, 50):  # bucket by bucket, numbered anew in each
        mine = (user >= start) & (user < start + 50)
        had.add(user[mine] - start, item[mine], min(50, users - start))
    return had


def test_a_history_counts_an_item_once_and_no_unknown_one() -> None:
    user, item = np.array([0, 0, 0, 0, 60, 60]), np.array([2, 2, -1, 9, 1, 0])
    expected = np.zeros((70, 3))
    expected[0, 2] = expected[60, 0] = expected[60, 1] = 1
    np.testing.assert_array_equal(histories(user, item, 70, 3).matrix().toarray(), expected)


def test_items_of_the_same_users_are_near_however_far_apart() -> None:
    """Ten events of one item lie between any two others: no window of neighbours sees them together."""
    rng = np.random.default_rng(0)
    taste, user = np.arange(200) % 2, np.repeat(np.arange(200), 10)
    liked = rng.integers(0, 10, 2000) + 10 * np.repeat(taste, 10)
    item = np.stack([liked, *[np.full(2000, 20)] * 10], axis=1).ravel()
    found = latent_modality(histories(np.repeat(user, 11), item, 200, 21), 6, 0, items=25)
    assert found is not None and found.name == "latent" and found.dimension == 6
    assert np.isnan(found.vectors[21:]).all()
    np.testing.assert_allclose(np.linalg.norm(found.vectors[:21], axis=1), 1, atol=1e-5)
    near = found.vectors[:20] @ found.vectors[:20].T
    same = np.equal.outer(np.arange(20) < 10, np.arange(20) < 10)
    assert near[same].mean() > near[~same].mean() + 0.3


def test_what_everybody_has_says_little() -> None:
    """Rarity weighs: with one item that all have, the first dimension is still the taste, not the popularity."""
    taste = np.arange(100) % 2
    user = np.repeat(np.arange(100), 3)
    item = np.stack([np.full(100, 4), 2 * taste, 2 * taste + 1], axis=1).ravel()
    found = latent_modality(histories(user, item, 100, 5), 3, 0, items=5)
    assert found is not None
    apart = found.vectors @ found.vectors.T
    assert apart[0, 1] > 0.99 and apart[2, 3] > 0.99 and abs(apart[0, 2]) < 0.1


def test_enough_histories_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_module, "MOST_EVENTS", 40)
    had = histories(np.repeat(np.arange(200), 2), np.tile([0, 1], 200), 200, 2)
    assert had.matrix().shape == (50, 2)
    assert latent_modality(Histories(3), 4, 0, items=3) is None
    assert latent_modality(histories(np.arange(9), np.arange(9) % 3, 9, 3), 4, 0, items=3) is None  # one item each


def test_items_of_the_same_words_are_near() -> None:
    items = catalogue()
    encoder = fit(items, 6, 0)
    assert encoder is not None
    found = encoder.modality(items, np.arange(len(items)), len(items) + 1)
    assert found.dimension == 6 and np.isnan(found.vectors[-1]).all()
    taste = np.array([int(tags[0][-1]) for tags in items["tags"].to_pylist()])
    near = found.vectors[:-1] @ found.vectors[:-1].T
    same = np.equal.outer(taste, taste)
    assert near[same].mean() > near[~same].mean() + 0.2


@pytest.mark.parametrize("texts", [[None] * 4, ["", " ", "!", "?"], ["one", None, None, None]])
def test_too_little_text_is_no_modality(texts: list[str | None]) -> None:
    items = pa.table({"text": pa.array(texts, pa.string()), "tags": pa.nulls(4, pa.list_(pa.string()))})
    assert fit(items, 6, 0) is None


def test_ready_vectors_are_taken_as_they_are() -> None:
    items = pa.table(
        {"vector_audio": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32())), "vector_none": pa.nulls(3)}
    )
    (audio,) = ready_modalities(items, np.array([2, 0, 1]), 4)
    assert audio.name == "audio"
    np.testing.assert_array_equal(audio.vectors, np.array([[np.nan] * 2, [3, 4], [1, 2], [np.nan] * 2], np.float32))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0], [1.0, 2.0]], r"vector_audio has vectors of the lengths \[1, 2\]"),
        ([[1.0], [float("inf")]], "not finite"),
    ],
)
def test_bad_ready_vectors_are_named(vectors: list[list[float]], message: str) -> None:
    items = pa.table({"vector_audio": pa.array(vectors, pa.list_(pa.float32()))})
    with pytest.raises(InvalidInput, match=message):
        ready_modalities(items, np.arange(2), 2)
