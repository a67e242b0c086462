"""The family as its users have it: a prefix is a vector, old events count, new users have a taste, order is nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.encoding.encoder import load_encoder
from portrait.training.runs.run import TrainedModel, train
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF, AS_OF_US, DAY, SCHEMA, TASTES, inputs, population, train_here

SPAN = timedelta(days=900)


def crowd(users: int = 240, days_ago: int = 0) -> pa.Table:
    """The example's users with events, of whom every second one has picks of its taste; all events so long ago."""
    made = [row for row in population(2 * users).to_pylist() if row["services"]][:users]
    for place, row in enumerate(made):
        taste = int(row["user_id"][-3:]) % TASTES
        row["onboarding_items"] = [f"m{taste}-{n}" for n in range(3)] if place % 2 else None
        row["event_times"] = [time - days_ago * DAY for time in row["event_times"]]
        row["created_time"] = AS_OF - SPAN
    return pa.Table.from_pylist(made, schema=population().schema)


def tastes(users: pa.Table) -> np.ndarray:
    return np.array([int(user[-3:]) % TASTES for user in users["user_id"].to_pylist()])


def trained(settings: TrainingSettings, users: pa.Table, *overrides: str, **changes: Any) -> TrainedModel:
    given: TrainingInputs = replace(inputs(users), data_from=AS_OF - SPAN, **changes)
    own = ("item_dimension=8", *(overrides if "dimension=8" in overrides else ("dimension=24", *overrides)))
    return train("forecast", own, given, settings)


def purity(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Share of users whose nearest other user has their label."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    return float((labels[alike.argmax(axis=1)] == labels).mean())


def test_what_came_after_is_forecast_for_users_that_were_kept_aside(settings: TrainingSettings) -> None:
    """Of the example's users nobody's rate changes: who had more before has more after."""
    model = trained(settings, crowd())
    assert 0.2 < model.metrics["held_out_loss"] < 0.9
    blind = trained(settings, crowd(), "future_weight=0", "next_weight=0")
    assert blind.metrics["held_out_loss"] == 1.0 and blind.fingerprint != model.fingerprint


def test_coordinates_come_by_what_they_tell(settings: TrainingSettings) -> None:
    """The first eight of 24 are the vector of eight, up to the one scale of all; the rest tells less."""
    users = crowd()
    long = load_encoder(trained(settings, users).path).encode(users, AS_OF_US)
    short = load_encoder(trained(settings, users, "dimension=8").path).encode(users, AS_OF_US)
    ratio = long[:, :8].std(axis=0) / short.std(axis=0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.05)
    apart = [np.corrcoef(long[:, place], short[:, place])[0, 1] for place in range(4)]
    assert min(apart) > 0.99


def test_users_whose_events_are_two_years_old_have_their_taste(settings: TrainingSettings) -> None:
    users = crowd(days_ago=730)
    vectors = load_encoder(trained(settings, users).path).encode(users, AS_OF_US)
    assert purity(vectors, tastes(users)) > 0.8


def test_picks_alone_tell_the_taste(settings: TrainingSettings) -> None:
    """A new user's vector is nearest to the users of the taste that was picked."""
    users = crowd()
    encoder = load_encoder(trained(settings, users, "numbers_weight=1").path)
    blank = dict.fromkeys(users.column_names)
    lists = {name: [] for name in ("services", "item_ids", "actions", "weights", "event_times", "event_ids")}
    picked = [[f"m{taste}-{n}" for n in range(3)] for taste in range(TASTES)]
    new = [{**blank, **lists, "user_id": f"new-{k}", "onboarding_items": p} for k, p in enumerate(picked)]
    vectors = encoder.encode(pa.Table.from_pylist(new, schema=users.schema), AS_OF_US)
    known = encoder.encode(users, AS_OF_US)
    centres = np.stack([known[tastes(users) == taste].mean(axis=0) for taste in range(TASTES)])
    centres -= centres.mean(axis=0)
    assert ((vectors - vectors.mean(axis=0)) @ centres.T).argmax(axis=1).tolist() == list(range(TASTES))


def test_the_order_of_users_does_not_matter(settings: TrainingSettings) -> None:
    users = crowd()
    backwards = users.take(pa.array(range(len(users) - 1, -1, -1)))
    forth, back = (load_encoder(trained(settings, given).path).encode(users, AS_OF_US) for given in (users, backwards))
    np.testing.assert_allclose(forth, back, atol=2e-3)


def test_nothing_is_forecast_from_a_field_that_knows_what_came_after(settings: TrainingSettings) -> None:
    """A profile is known as it is now: a count of the last months in it would foretell them at every past cut."""
    users = crowd()
    plain = trained(settings, users).metrics["held_out_loss"]
    recent = [sum(time > AS_OF_US - 180 * DAY for time in times) for times in users["event_times"].to_pylist()]
    telling = users.set_column(users.column_names.index("age"), "age", pa.array(recent, pa.int64()))
    assert trained(settings, telling).metrics["held_out_loss"] == pytest.approx(plain, abs=1e-3)


def test_users_whose_early_events_are_lost_teach_nothing(settings: TrainingSettings) -> None:
    """Where histories are full, those before a cut look like those of users who hardly do anything."""
    users, longer = crowd(), replace(SCHEMA, history_length=3)
    whole = trained(settings, users)
    cut = trained(settings, users, schema=longer)
    assert whole.metrics["held_out_loss"] < 0.9 and cut.metrics["held_out_loss"] == 1.0


@pytest.mark.parametrize("name", ["activity", "recency", "regularity", "latent.all"])
def test_a_field_may_be_called_like_a_block(settings: TrainingSettings, name: str) -> None:
    users, plain = crowd(), crowd()
    users = users.rename_columns([name if column == "age" else column for column in users.column_names])
    profile = tuple(replace(field, name=name) if field.name == "age" else field for field in SCHEMA.profile)
    named = trained(settings, users, schema=replace(SCHEMA, profile=profile))
    vectors = load_encoder(named.path).encode(users, AS_OF_US)
    expected = load_encoder(trained(settings, plain).path).encode(plain, AS_OF_US)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_ray_takes_no_part(settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed form needs no workers, whatever the settings say."""
    monkeypatch.setattr("portrait.feature_repo.ray_cluster.ensure_ray", lambda *_: pytest.fail("Ray was started"))
    several = settings.model_copy(update={"num_workers": 2})
    assert train_here(several, inputs(population()), family="forecast").metrics["epochs"] == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=3", "there is no 'epochs'"),
        ("horizons_days=30,7", r"horizons_days=\(30, 7\) must be positive and growing"),
        ("held_out=0", "held_out=0.0 must be above 0 and below 1"),
        ("numbers_weight=0", "numbers_weight=0.0 must be positive"),
        ("next_weight=-1", "next_weight=-1.0 must not be negative"),
    ],
)
def test_a_bad_value_is_named(settings: TrainingSettings, override: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        train_here(settings, inputs(population()), override, family="forecast")
