"""Every baseline on planted tastes: it finds them, reads nothing from after the as-of, and is the same again."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from portrait.registry.errors import InvalidInput
from portrait.training.baselines import dlrm, lightfm, vae_cf
from portrait.training.baselines.baseline import Suits
from portrait.training.baselines.catalogue import (
    FEATURES,
    RANKINGS,
    feature_baseline,
    ranking_baseline,
    select_baselines,
)
from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.evaluation.event_choice import with_events
from tests.training.example import AS_OF_US, DAY, inputs, population

USERS = population(240)
TASTE = np.arange(240) % 3
ACTIVE = np.asarray([len(items) >= 5 for items in USERS["item_ids"].to_pylist()])
TRAIN, OTHERS = USERS.slice(0, 120), USERS.slice(120)
BLIND = {"recency", "rfm", "mean-onboarding"}  # they look at no item of the history


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightfm, "STEPS", 150)
    monkeypatch.setattr(dlrm, "STEPS", 300)
    monkeypatch.setattr(vae_cf, "EPOCHS", 60)


def dense(features: object) -> Float32:
    found = features.toarray() if sparse.issparse(features) else features
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    return found


def purity(features: Float32, taste: np.ndarray) -> float:
    """Share of the five nearest by cosine that have the same taste; a third by chance."""
    rows = features - features.mean(axis=0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    near = rows @ rows.T
    np.fill_diagonal(near, -2)
    return float((taste[np.argsort(-near, axis=1)[:, :5]] == taste[:, None]).mean())


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_users_who_were_not_there(name: str) -> None:
    baseline = feature_baseline(name)
    assert baseline.name == name and baseline.suits in set(Suits)
    fitted = baseline.fit(inputs(TRAIN), seed=0)
    features = dense(fitted.matrix(OTHERS, AS_OF_US))
    assert features.shape[0] == OTHERS.num_rows
    if name not in BLIND:
        least = 0.5 if name == "random-encoder" else 0.6  # a third by chance; random weights keep some of it
        assert purity(np.nan_to_num(features)[ACTIVE[120:]], TASTE[120:][ACTIVE[120:]]) > least
    again = dense(feature_baseline(name).fit(inputs(TRAIN), seed=0).matrix(OTHERS, AS_OF_US))
    np.testing.assert_allclose(features, again, atol=1e-4)


@pytest.mark.parametrize("name", FEATURES)
def test_features_know_nothing_of_events_from_the_as_of_on(name: str) -> None:
    cut = AS_OF_US - 30 * DAY
    times = OTHERS["event_times"].combine_chunks().flatten().to_numpy()
    before = with_events(OTHERS, times < cut)
    fitted = feature_baseline(name).fit(inputs(TRAIN), seed=0)
    late = np.full(OTHERS.num_rows, cut)
    np.testing.assert_allclose(dense(fitted.matrix(OTHERS, late)), dense(fitted.matrix(before, cut)), atol=1e-5)


def test_window_counts_are_counts() -> None:
    row = OTHERS.slice(0, 1)
    days = np.array([1, 1.5, 20, 200])
    table = with_events(row, np.arange(len(row["event_times"][0])) < 4)
    for column, values in (
        ("event_times", (AS_OF_US - days * DAY).astype(np.int64)[::-1].tolist()),
        ("services", ["shop"] * 4),
        ("item_ids", ["a", "b", "a", "a"]),
        ("weights", [1.0, 2.0, 3.0, 4.0]),
    ):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, column, pa.array([values], table.schema.field(column).type))
    found = dense(feature_baseline("rfm").fit(inputs(TRAIN), seed=0).matrix(table, AS_OF_US))[0]
    counts = np.expm1(found[:20]).reshape(4, 5)  # (events, days, items, weight) x (7, 30, 90, 180, all)
    assert counts[0] == pytest.approx([2, 3, 3, 3, 4], abs=1e-4)
    assert counts[2] == pytest.approx([1, 2, 2, 2, 2], abs=1e-4)
    assert counts[3] == pytest.approx([7, 9, 9, 9, 10], abs=1e-4)
    assert np.expm1(found[20:22]) == pytest.approx([1, 200], rel=1e-5)


@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_put_the_users_taste_first(name: str) -> None:
    baseline = ranking_baseline(name)
    ranker = baseline.fit(inputs(TRAIN), seed=0)
    active = OTHERS.filter(pa.array(ACTIVE[120:]))
    scores = ranker.scores(active, AS_OF_US)
    assert baseline.name == name
    assert scores.shape == (active.num_rows, len(ranker.items)) and scores.dtype == np.float32
    assert np.isfinite(scores).all()
    own = np.asarray([taste_of(ranker.items)[row] for row in np.argsort(-scores, axis=1)[:, :10].ravel()])
    share = (own.reshape(-1, 10) == TASTE[120:][ACTIVE[120:]][:, None]).mean()
    assert share == pytest.approx(1 / 3, abs=0.15) if "popularity" in name else share > 0.6
    again = ranking_baseline(name).fit(inputs(TRAIN), seed=0).scores(active, AS_OF_US)
    np.testing.assert_allclose(scores, again, atol=1e-4)  # two threads add in another order


def taste_of(items: Vocabulary) -> list[int]:
    return [int(key.split("\x1f")[1][1]) if key.endswith(tuple("0123456789")) else -1 for key in items.values]


def test_picks_alone_place_a_new_user_with_the_hybrid() -> None:
    ranker = ranking_baseline("lightfm").fit(inputs(USERS), seed=0)
    nothing = with_events(USERS, np.zeros(len(USERS["item_ids"].combine_chunks().flatten()), bool))
    picked = np.asarray([bool(picks) for picks in USERS["onboarding_items"].to_pylist()])
    scores = ranker.scores(nothing.filter(pa.array(picked)), AS_OF_US + 10 * DAY)
    tastes = np.asarray(taste_of(ranker.items))[np.argsort(-scores, axis=1)[:, :10]]
    assert (tastes == TASTE[picked][:, None]).mean() > 0.5


def test_recent_popularity_counts_the_last_month() -> None:
    ranker = ranking_baseline("recent-popularity").fit(inputs(TRAIN), seed=0)
    best = ranker.items.values[int(np.argmax(ranker.scores(TRAIN.slice(0, 1), AS_OF_US)[0]))]
    counts: dict[str, int] = {}
    for row in TRAIN.select(["services", "item_ids", "event_times"]).to_pylist():
        for service, item, time in zip(*row.values(), strict=True):
            if time >= AS_OF_US - 30 * DAY:
                counts[f"{service}\x1f{item}"] = counts.get(f"{service}\x1f{item}", 0) + 1
    assert counts[best] == max(counts.values())


def test_item_knn_prefers_what_follows_the_newest_item() -> None:
    table = USERS.slice(0, 3)
    for column, values in (
        ("services", [["s"] * 3] * 3),
        ("item_ids", [["a", "b", "c"], ["x", "y", "z"], ["x", "y", "a"]]),
        ("actions", [["view"] * 3] * 3),
        ("weights", [[1.0] * 3] * 3),
        ("event_times", [[AS_OF_US - 3, AS_OF_US - 2, AS_OF_US - 1]] * 3),
        ("event_ids", [["1", "2", "3"]] * 3),
    ):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
    ranker = ranking_baseline("item-knn").fit(inputs(table), seed=0)
    (scores,) = ranker.scores(table.slice(2, 1), AS_OF_US)
    by_item = dict(zip([key[2:] for key in ranker.items.values], scores.tolist(), strict=True))
    new = {item: score for item, score in by_item.items() if item in "bcz"}
    assert max(new, key=new.__getitem__) == "b"  # it came right after a, which is the newest


def test_too_few_users_are_said() -> None:
    with pytest.raises(InvalidInput, match="1 users with"):
        feature_baseline("svd").fit(inputs(USERS.slice(0, 1)), seed=0)


def test_names_are_chosen_or_refused() -> None:
    known = list(RANKINGS)
    assert select_baselines("all", known) == known and select_baselines("none", known) == []
    assert select_baselines("pmf, svd,pmf", known) == ["pmf", "svd"]
    with pytest.raises(
        InvalidInput, match="--baselines pmf,rfm: this task has no rfm; write all, none, or some of pop"
    ):
        select_baselines("pmf,rfm", known)
