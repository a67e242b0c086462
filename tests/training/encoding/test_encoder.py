"""encode: the same as one user at a time, in any batch, and only from what lies before the as-of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.blocks.blocks import Layout
from portrait.training.encoding.encoder import Encoder, load_encoder, load_prior
from portrait.training.runs.run import TrainedModel
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF_US, DAY, TEAM, inputs, population, train_here
from tests.training.reference import Reference


@pytest.fixture(scope="module")
def encoder(model: TrainedModel) -> Encoder:
    return load_encoder(model.path, model.fingerprint)


@pytest.fixture
def any_encoder(either: TrainedModel) -> Encoder:
    return load_encoder(either.path, either.fingerprint)


def reference(path: Path, users: pa.Table, as_of: list[int]) -> np.ndarray:
    micros = users.set_column(
        users.column_names.index("created_time"), "created_time", users["created_time"].cast(pa.int64())
    )
    one_by_one = Reference(path)
    return np.stack([one_by_one.encode(user, at) for user, at in zip(micros.to_pylist(), as_of, strict=True)])


def test_it_equals_encoding_one_event_at_a_time(model: TrainedModel, encoder: Encoder) -> None:
    users = population(seed=1)
    as_of = [AS_OF_US - place % 5 * 50 * DAY for place in range(len(users))]
    vectors = encoder.encode(users, np.array(as_of))
    assert vectors.dtype == np.float32 and vectors.shape == (len(users), 8)
    np.testing.assert_allclose(vectors, reference(model.path, users, as_of), atol=1e-4)


def test_the_forecast_equals_encoding_one_event_at_a_time(forecast_model: TrainedModel) -> None:
    users = population(seed=1)
    as_of = [AS_OF_US - place % 5 * 50 * DAY for place in range(len(users))]
    vectors = load_encoder(forecast_model.path).encode(users, np.array(as_of))
    np.testing.assert_allclose(vectors, reference(forecast_model.path, users, as_of), atol=1e-4)


def test_means_as_the_paper_has_them_and_as_older_artifacts_do(settings: TrainingSettings) -> None:
    model = train_here(settings, inputs(population()), "pooling=mean")
    vectors = load_encoder(model.path).encode(population(seed=1), AS_OF_US)
    np.testing.assert_allclose(vectors, reference(model.path, population(seed=1), [AS_OF_US] * 120), atol=1e-4)
    layout = json.loads((model.path / "encoder.json").read_text())["layout"]
    assert layout.pop("pooling") == "mean" and layout.pop("latest_decay") == 0.6
    older = Layout.from_json(layout)
    assert older.pooling == "mean"  # before artifacts told, they were all means
    assert [block.name for block in older.blocks if block.name.endswith(".latest")] == []


def test_team_features_and_excluded_fields_too(settings: TrainingSettings) -> None:
    model = train_here(settings, inputs(population(), TEAM, exclude=("country", "onboarding_items")))
    users = population(seed=2)
    vectors = load_encoder(model.path).encode(users, AS_OF_US)
    np.testing.assert_allclose(vectors, reference(model.path, users, [AS_OF_US] * len(users)), atol=1e-4)
    names = users.column_names
    foreign = users.set_column(names.index("country"), "country", pa.array(["SE"] * len(users)))
    no_picks = foreign.drop_columns("onboarding_items")
    np.testing.assert_array_equal(load_encoder(model.path).encode(no_picks, AS_OF_US), vectors)


def test_the_batch_does_not_matter(any_encoder: Encoder) -> None:
    users = population(users=300, seed=3)
    whole = any_encoder.encode(users, AS_OF_US)
    for size in (1, 7, 128):
        parts = [any_encoder.encode(users.slice(start, size), AS_OF_US) for start in range(0, len(users), size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    backwards = any_encoder.encode(users.take(pa.array(range(len(users) - 1, -1, -1))), AS_OF_US)
    np.testing.assert_allclose(backwards[::-1], whole, atol=1e-5)
    np.testing.assert_array_equal(any_encoder.encode(users, AS_OF_US), whole)


def test_no_users_no_vectors(any_encoder: Encoder) -> None:
    assert any_encoder.encode(population().slice(0, 0), AS_OF_US).shape == (0, 8)


def test_users_of_whom_nothing_is_known_get_the_prior_exactly(model: TrainedModel, encoder: Encoder) -> None:
    users = population()
    blank = [place for place, user in enumerate(users["user_id"].to_pylist()) if int(user[-3:]) % 20 == 7]
    vectors = encoder.encode(users, AS_OF_US)
    assert blank and (vectors[blank] == encoder.prior).all()
    assert (vectors[[0, 8]] != encoder.prior).any(axis=1).all()  # with events; with a profile alone
    np.testing.assert_array_equal(load_prior(model.path), encoder.prior)
    assert np.abs(encoder.prior).max() < 1e-5  # the mean of vectors that are standardised over the same users
    long_ago = encoder.encode(users, AS_OF_US - 10_000 * DAY)  # before any event or sign-up
    unborn = [place for place, created in enumerate(users["created_time"].to_pylist()) if created is not None]
    assert (long_ago[unborn] == encoder.prior).all()


def test_windows_are_half_open(model: TrainedModel) -> None:
    """An event at as_of - w is inside the window, one microsecond earlier it is not; one at as_of does not exist."""
    template = population().slice(0, 1).to_pylist()[0]
    one_event = {"services": ["music"], "item_ids": ["m0-0"], "actions": ["view"], "weights": [1.0], "event_ids": ["x"]}

    def rows(times: list[int]) -> np.ndarray:
        from portrait.training.encoding import families
        from portrait.training.encoding.artifact import load_content

        users = [{**template, **one_event, "event_times": [time]} for time in times]
        representation = families.get("autoencoder").representation(load_content(model.path, None), "cpu")
        table = pa.Table.from_pylist(users, schema=population().schema)
        return representation.rows.build(table, np.full(len(users), AS_OF_US))

    week = 7 * DAY
    pooled = ~np.isnan(rows([AS_OF_US - week, AS_OF_US - week - 1, AS_OF_US - 1, AS_OF_US])[:, [0, 6, 12]])
    assert pooled.tolist() == [[True, True, True], [False, True, True], [True, True, True], [False, False, False]]


def test_an_event_at_the_as_of_does_not_count(any_encoder: Encoder) -> None:
    users = population().filter(pa.array([place % 20 not in (7, 8) for place in range(120)]))
    newest = max(users.slice(3, 1)["event_times"].to_pylist()[0])
    user = users.slice(3, 1)
    assert (any_encoder.encode(user, newest) != any_encoder.encode(user, newest + 1)).any()
    history = user.to_pylist()[0]
    lists = ("services", "item_ids", "actions", "weights", "event_times", "event_ids")
    shorter = {**history, **{name: history[name][:-1] for name in lists}}
    without = pa.Table.from_pylist([shorter], schema=user.schema)
    np.testing.assert_array_equal(any_encoder.encode(user, newest), any_encoder.encode(without, newest))


def test_a_profile_from_the_future_does_not_count(encoder: Encoder) -> None:
    user = population().slice(8, 1)  # no events
    born = user["created_time"].cast(pa.int64()).to_pylist()[0]
    assert (encoder.encode(user, born) == encoder.prior).all()
    assert (encoder.encode(user, born + 1) != encoder.prior).any()


def test_a_missing_column_is_named(encoder: Encoder) -> None:
    with pytest.raises(InvalidInput, match=r"lack the columns \['age', 'country'\]"):
        encoder.encode(population().drop_columns(["age", "country"]), AS_OF_US)


def test_as_of_must_fit(any_encoder: Encoder) -> None:
    with pytest.raises(InvalidInput, match=r"as_of has shape \(3,\) for 120 users"):
        any_encoder.encode(population(), np.array([AS_OF_US] * 3))


def test_the_prior_needs_no_torch(model: TrainedModel, tmp_path: Path) -> None:
    import subprocess
    import sys

    alone = tmp_path / "artifact"
    alone.mkdir()
    for name in ("manifest.json", "weights.safetensors"):
        shutil.copy(model.path / name, alone)
    code = (
        "import sys; from pathlib import Path; from portrait.training.encoding.artifact import load_prior; "
        f"print(len(load_prior(Path({str(alone)!r}))), 'torch' in sys.modules, 'pyarrow' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["8", "False", "False"]
