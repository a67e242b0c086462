"""No value that ingest accepts crashes a training, or spreads from its user to the others."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portrait.feature_repo.declaration.input_schema import Field, FieldKind, InputSchema
from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.autoencoder.trainee import AutoencoderTrainee
from portrait.training.blocks.moments import tame_moments
from portrait.training.blocks.prepare import PreparedRows, prepare
from tests.training.example import SCHEMA, TEAM, inputs, population

CONFIG = AutoencoderConfig(
    epochs=1, epoch_steps=2, dimension=4, hidden=(8,), item_dimension=4, batch_size=32, windows_days=(30, 365)
)
USERS = population()
HUGE = (1e39, 1e300, -1e300, 3.5e38, 3.4e38, 1e20, -1e12, 2.0**63)


def prepared(users: pa.Table, folder: Path, schema: InputSchema = SCHEMA) -> PreparedRows:
    folder.mkdir(exist_ok=True)
    prepare(inputs(users, schema), CONFIG, folder, lambda *_, **__: None)
    return PreparedRows(folder)


def with_column(name: str, values: pa.Array) -> pa.Table:
    return USERS.set_column(USERS.column_names.index(name), name, values)


def trained_loss(rows: PreparedRows) -> float:
    """The held-out loss after a few steps."""
    trainee = AutoencoderTrainee(rows, CONFIG, torch.device("cpu"))
    for batch in trainee.batches(0, 0, 1):
        trainee.optimiser.zero_grad()
        assert trainee.backward(batch).isfinite()
        trainee.optimiser.step()
    with torch.no_grad():
        return trainee.held_out_loss()


def blocks_of(rows: PreparedRows) -> dict[str, slice]:
    places, start = {}, 0
    for block in rows.layout.blocks:
        places[block.name] = slice(start, start := start + block.width)
    return places


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PreparedRows:
    return prepared(USERS, tmp_path_factory.mktemp("plain"), TEAM)


@pytest.mark.parametrize(("huge", "users"), [(1e39, 1), (1e300, 2), (-1e300, 1), (1e20, 2), (-1e12, 1), (2.0**63, 3)])
def test_a_huge_number_leaves_the_column_to_the_others(
    tmp_path: Path, plain: PreparedRows, huge: float, users: int
) -> None:
    ages = USERS["age"].cast(pa.float64()).to_pylist()
    for place in range(1, 1 + users):
        ages[place] = huge
    wild = prepared(with_column("age", pa.array(ages, pa.float64())), tmp_path / "wild", TEAM)
    assert np.isfinite(wild.standardisation["row_mean"]).all() and np.isfinite(wild.standardisation["row_scale"]).all()
    columns = blocks_of(wild)["age"]
    for name in ("row_mean", "row_scale"):
        was, now = plain.standardisation[name][columns], wild.standardisation[name][columns]
        np.testing.assert_allclose(now, was, rtol=0.2, err_msg=name)
    assert trained_loss(wild) == pytest.approx(trained_loss(plain), rel=0.1)


def test_a_huge_vector_leaves_the_block_to_the_others(tmp_path: Path, plain: PreparedRows) -> None:
    moods = USERS["listening__mood"].to_pylist()
    moods[1], moods[2] = [3e38, -3e38, 1.0], [1e30, 0.0, 0.0]
    users = with_column("listening__mood", pa.array(moods, pa.list_(pa.float32())))
    wild = prepared(users, tmp_path / "wild", TEAM)
    columns = blocks_of(wild)["listening__mood"]
    scales = (rows.standardisation["row_scale"][columns] for rows in (wild, plain))
    np.testing.assert_allclose(*scales, rtol=0.3)
    assert np.isfinite(trained_loss(wild))


def test_huge_weights_leave_activity_to_the_others(tmp_path: Path, plain: PreparedRows) -> None:
    weights = USERS["weights"].to_pylist()
    weights[1] = [3.4e38] * len(weights[1])
    wild = prepared(with_column("weights", pa.array(weights, pa.list_(pa.float32()))), tmp_path / "wild")
    scales = (rows.standardisation["row_scale"][blocks_of(rows)["activity"]] for rows in (wild, plain))
    np.testing.assert_allclose(*scales, rtol=0.3)


def test_moments_of_ordinary_columns_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    rare = (rng.random(1000) < 0.01).astype(np.float32)
    for values in (rng.normal(size=1000), rng.lognormal(size=1000), rare, np.zeros(1000), np.array([1.0, 1e30])):
        column = values.astype(np.float32)
        assert tame_moments(column, 7.0, float(column.astype(np.float64).var())) == (
            7.0,
            float(column.astype(np.float64).var()),
        )


TEXTS = st.none() | st.sampled_from(["", " ", "nan", "None", "\x1f", "é", "𐍈", "x" * 2000]) | st.text(max_size=5)
NUMBERS = st.none() | st.sampled_from([*HUGE, 0.0, -0.0, 5e-324, float("nan"), float("inf")]) | st.floats()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_columns_train(tmp_path: Path, data: st.DataObject) -> None:
    count = USERS.num_rows
    numbers = data.draw(st.lists(NUMBERS, min_size=1, max_size=20))
    texts = data.draw(st.lists(TEXTS, min_size=1, max_size=20))
    flags = data.draw(st.lists(st.none() | st.booleans(), min_size=1, max_size=3))
    repeat = lambda values, kind: pa.array([values[n % len(values)] for n in range(count)], kind)  # noqa: E731
    users = with_column("age", repeat(numbers, pa.float64()))
    users = users.set_column(users.column_names.index("country"), "country", repeat(texts, pa.string()))
    users = users.append_column("flag", repeat(flags, pa.bool_()))
    schema = InputSchema(SCHEMA.history_length, (*SCHEMA.profile, Field("flag", FieldKind.CATEGORY)))
    rows = prepared(users, tmp_path / "any", schema)
    assert all(np.isfinite(values).all() for values in rows.standardisation.values())
    assert np.isfinite(trained_loss(rows))
    assert json.loads((tmp_path / "any" / "prepared.json").read_text())["vocabularies"]["categories"].keys() == {
        "country",
        "flag",
    }
