"""Cold start on generated users: a sign-up is placed by what it said, and moves towards its taste as events come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.schemas import HISTORY, microseconds
from portrait.infra.generator import TASTES, generate
from portrait.infra.jobs.versions import take_in, train_version
from portrait.infra.portrait import Portrait
from portrait.training.encoding.arrays import DAY_US, Float32
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.encoding.encoding_times import encoding_times
from tests.instances import embedded

AUTUMN = datetime(2024, 9, 1, tzinfo=UTC)
SMALL = {
    "autoencoder": ("epochs=4", "epoch_steps=40", "dimension=32", "hidden=64", "item_dimension=16"),
    "clue": ("epochs=4", "epoch_steps=40", "dimension=32", "size=nano", "vocabulary=1000", "batch_size=128"),
}
NAMES = list(TASTES)
LISTS = [field.name for field in HISTORY if pa.types.is_list(field.type)]


@dataclass(frozen=True)
class World:
    """A model that has seen what came before autumn, and all users with their planted tastes."""

    family: str
    portrait: Portrait
    encoder: Encoder
    floor: int
    users: pa.Table  # online inputs, as of the end
    taste: np.ndarray  # [users] code
    means: Float32  # [tastes, dimension] of users who had signed up before autumn, unit, without what all share

    def near_taste(self, vectors: Float32, taste: np.ndarray) -> np.ndarray:
        """[n] cosine of each vector to the mean vector of its taste."""
        return (unit(vectors) * self.means[taste]).sum(axis=1)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Portrait, pa.Table]]:
    """An instance with users, and their labels."""
    folder = tmp_path_factory.mktemp("cold")
    files = generate(folder / "generated", users=600, seed=3)
    with Portrait.prepare(embedded(folder / "home")) as portrait:
        take_in(portrait, files.events, files.items, files.users)
        yield portrait, pq.read_table(files.labels)


@pytest.fixture(scope="module", params=SMALL)
def world(request: pytest.FixtureRequest, generated: tuple[Portrait, pa.Table]) -> World:
    portrait, labels = generated
    version = train_version(portrait, request.param, as_of=AUTUMN, overrides=SMALL[request.param])
    encoder = load_encoder(portrait.settings.home / version.artifact, version.fingerprint)
    floor = microseconds(version.data_to)
    users = portrait.repo.read_inputs(labels["user_id"].to_pylist())
    taste = np.array([NAMES.index(name) for name in labels["taste"].to_pylist()])
    long_known = active(users) & (signed_up(users) < microseconds(AUTUMN))
    vectors = encoder.encode(users, encoding_times(users, floor))
    means = np.stack([vectors[long_known & (taste == code)].mean(axis=0) for code in range(len(NAMES))])
    return World(request.param, portrait, encoder, floor, users, taste, unit(means - means.mean(axis=0)))


def unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def active(users: pa.Table) -> np.ndarray:
    return np.array([len(times) >= 20 for times in users["event_times"].to_pylist()])


def signed_up(users: pa.Table) -> np.ndarray:
    return users["created_time"].cast(pa.int64()).fill_null(0).to_numpy()


def with_first(users: pa.Table, events: int) -> pa.Table:
    """The users when only so many of their events had come."""
    rows = [{**row, **{name: row[name][:events] for name in LISTS}} for row in users.to_pylist()]
    return pa.Table.from_pylist(rows, schema=users.schema)


def test_a_sign_up_has_a_vector_that_moves_towards_its_taste(world: World) -> None:
    said = np.array([bool(picks) for picks in world.users["onboarding_items"].to_pylist()])
    new = active(world.users) & said & (signed_up(world.users) > microseconds(AUTUMN))
    assert new.sum() >= 20
    users, taste = world.users.filter(pa.array(new)), world.taste[new]
    nearness = {}
    for events in (0, 3, 10, 1000):
        known = with_first(users, events)
        vectors = world.encoder.encode(known, encoding_times(known, world.floor))
        if events == 0:
            assert (vectors != world.encoder.prior).any(axis=1).all()
        nearness[events] = float(world.near_taste(vectors, taste).mean())
    if world.family == "clue":  # its training has brought what is picked and what is then listened to together
        assert min(nearness.values()) > 0.35
        return
    assert nearness[0] > 0.05  # its tenure of no days is what is most unlike others about it
    assert nearness[3] > nearness[0] + 0.04
    assert nearness[10] > nearness[3] + 0.04
    assert nearness[1000] > nearness[10] + 0.08
    assert nearness[1000] > 0.48


def test_a_user_in_none_of_the_data_gets_exactly_the_prior(world: World) -> None:
    nobody = world.portrait.repo.read_inputs(["nobody"])
    vector = world.encoder.encode(nobody, encoding_times(nobody, world.floor))
    np.testing.assert_array_equal(vector[0], world.encoder.prior)


def test_new_items_move_a_user_towards_their_taste_at_once(world: World) -> None:
    """One user a taste, who have touched nothing but items whose texts came after training."""
    rng = np.random.default_rng(0)
    items, rows = [], []
    blank = {**world.portrait.repo.read_inputs(["nobody"]).to_pylist()[0]}
    for name in NAMES:
        titles = [" ".join([*rng.choice(TASTES[name].split(), 2, replace=False), "new song"]) for _ in range(5)]
        ids = [f"new-{name}-{n}" for n in range(5)]
        items += [
            {"service": "music", "item_id": i, "text": t, "tags": [name]} for i, t in zip(ids, titles, strict=True)
        ]
        history = {
            "services": ["music"] * 5,
            "item_ids": ids,
            "actions": ["play"] * 5,
            "weights": [1.0] * 5,
            "event_times": [world.floor + day * DAY_US for day in range(5)],
            "event_ids": [f"{name}-{n}" for n in range(5)],
        }
        rows.append({**blank, **history, "user_id": name})
    users = pa.Table.from_pylist(rows, schema=world.users.schema)
    taste, as_of = np.arange(len(NAMES)), encoding_times(users, world.floor)
    before = world.encoder.encode(users, as_of)
    world.encoder.learn(pa.Table.from_pylist(items), 10_000)
    after = world.encoder.encode(users, as_of)
    moved = world.near_taste(after, taste) - world.near_taste(before, taste)
    nearest = (unit(after - before) @ world.means.T).argmax(axis=1)
    assert moved.min() > 0 and moved.mean() > 0.2
    assert (nearest == taste).sum() >= 5  # of 8
