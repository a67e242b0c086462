"""On planted tastes CLUE learns what it is for: a user's two services are near each other."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.encoder import load_encoder
from portrait.training.runs.run import train
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF, AS_OF_US, DAY, SCHEMA

TASTES, USERS, NEW = 12, 400, 60
SYLLABLES = ["ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se"]
SERVICES = ("music", "shop")
CONFIG = ("size=nano", "vocabulary=300", "dimension=16", "batch_size=64", "epoch_steps=40", "text_length=8")


def items() -> pa.Table:
    """Each taste has a word in either service; the shop's is that of another taste in music, backwards.

    So only the users tell what goes together.
    """
    backwards = [word[::-1] for word in (*SYLLABLES[1:], SYLLABLES[0])]
    rows = [
        (service, f"{service}-{taste}-{n}", f"{word} {n}")
        for service, words in zip(SERVICES, (SYLLABLES, backwards), strict=True)
        for taste, word in enumerate(words)
        for n in range(4)
    ]
    return pa.table(dict(zip(("service", "item_id", "text"), map(list, zip(*rows, strict=True)), strict=True)))


def users(first: int, count: int, services: tuple[str, ...] = SERVICES) -> pa.Table:
    """Users of one taste each, with three events in each of the services."""
    rng = np.random.default_rng(first)
    rows = []
    for place in range(first, first + count):
        taste = place % TASTES
        events = [(service, f"{service}-{taste}-{rng.integers(4)}") for service in services for _ in range(3)]
        times = [AS_OF_US - (len(events) - n) * DAY for n in range(len(events))]
        rows.append(
            {
                "user_id": f"user-{place}",
                "services": [service for service, _ in events],
                "item_ids": [item for _, item in events],
                "actions": ["view"] * len(events),
                "weights": [1.0] * len(events),
                "event_times": times,
                "event_ids": [f"{place}-{n}" for n in range(len(events))],
                "onboarding_items": [],
            }
        )
    table = pa.Table.from_pylist(rows)
    return table.append_column("created_time", pa.nulls(count, pa.timestamp("us", tz="UTC")))


def training() -> TrainingInputs:
    everybody = users(0, USERS)
    schema = SCHEMA.exclude(SCHEMA.names)
    return TrainingInputs(lambda: iter([everybody]), USERS, AS_OF, "planted", None, items(), schema)


def services_of_new_users(folder: Path, *overrides: str) -> tuple[Float32, Float32]:
    """Vectors of users who were not trained on, seen in one service and in the other."""
    settings = TrainingSettings(home=folder, num_workers=0)
    model = train("clue", [*CONFIG, *overrides], training(), settings)
    encoder = load_encoder(model.path)
    one, other = (encoder.encode(users(USERS, NEW, (service,)), AS_OF_US) for service in SERVICES)
    return one, other


def recall(one: Float32, other: Float32) -> float:
    """Share of users whose nearest in the other service has their taste; 1 / TASTES by chance."""
    taste = np.arange(USERS, USERS + len(one)) % TASTES
    return float((taste[(one @ other.T).argmax(axis=1)] == taste).mean())


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> tuple[Float32, Float32]:
    return services_of_new_users(tmp_path_factory.mktemp("random"), "epochs=0")


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Float32, Float32]:
    return services_of_new_users(tmp_path_factory.mktemp("learnt"), "epochs=2")


def test_the_services_of_new_users_find_each_other(
    random: tuple[Float32, Float32], learnt: tuple[Float32, Float32]
) -> None:
    assert recall(*random) < 0.3
    assert recall(*learnt) > 0.9


def test_own_services_are_nearer_than_those_of_others(learnt: tuple[Float32, Float32]) -> None:
    cosines = learnt[0] @ learnt[1].T
    own = np.diag(cosines).mean()
    assert own > 0.8 and own - cosines.mean() > 0.6
