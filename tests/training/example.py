"""A small population with planted tastes, built by hand in the columns of `snapshot.read`."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from portrait.feature_repo.declaration.input_schema import Field, FieldKind, InputSchema
from portrait.feature_repo.schemas import HISTORY, TIME
from portrait.training.encoding import families
from portrait.training.runs.run import TrainedModel, train
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings

AS_OF = datetime(2024, 6, 1, tzinfo=UTC)
AS_OF_US = int(AS_OF.timestamp()) * 1_000_000
DAY = 86_400_000_000
TASTES, ITEMS = 3, 12  # items of each taste
WORDS = (("forest", "river", "moss"), ("orbit", "comet", "star"), ("bread", "oven", "spice"))
SCHEMA = InputSchema(256, (Field("country", FieldKind.CATEGORY), Field("age", FieldKind.NUMBER)))
TEAM = InputSchema(256, SCHEMA.profile, (Field("listening__mood", FieldKind.VECTOR, 3),))
QUICK = {
    "autoencoder": ("epochs=3", "epoch_steps=10", "dimension=8", "hidden=16", "item_dimension=6", "batch_size=32"),
    "forecast": ("dimension=8", "item_dimension=6", "directions=6", "numbers_weight=1"),
    "clue": ("epochs=3", "epoch_steps=5", "dimension=8", "size=nano", "vocabulary=400", "batch_size=32"),
}
"""By family, what trains in a second."""
FAMILIES = list(QUICK)
DESCENDING = [name for name in FAMILIES if families.get(name).descends]


def catalogue() -> pa.Table:
    rows = [
        (service, f"{service[0]}{taste}-{n}", taste, n)
        for service in ("music", "shop")
        for taste in range(TASTES)
        for n in range(ITEMS)
    ]
    return pa.table(
        {
            "service": [service for service, *_ in rows],
            "item_id": [item for _, item, *_ in rows],
            "text": [f"{WORDS[taste][n % 3]} {WORDS[taste][(n + 1) % 3]} number{n}" for *_, taste, n in rows],
            "tags": pa.array([[f"taste{taste}"] for *_, taste, _ in rows], pa.list_(pa.string())),
        }
    )


def population(users: int = 120, seed: int = 0) -> pa.Table:
    """Users of whom some have events, picks or a profile only, and some nothing at all."""
    rng = np.random.default_rng(seed)
    rows = [_user(rng, place) for place in range(users)]
    history = pa.table({name: [row[name] for row in rows] for name in HISTORY.names}, schema=HISTORY)
    return (
        history.append_column("created_time", pa.array([row["created"] for row in rows], TIME))
        .append_column("onboarding_items", pa.array([row["picks"] for row in rows], pa.list_(pa.string())))
        .append_column("country", pa.array([row["country"] for row in rows], pa.string()))
        .append_column("age", pa.array([row["age"] for row in rows], pa.int64()))
        .append_column("listening__mood", pa.array([row["mood"] for row in rows], pa.list_(pa.float32())))
    )


def _user(rng: np.random.Generator, place: int) -> dict[str, object]:
    taste = place % TASTES
    nothing, no_events = place % 20 == 7, place % 20 == 8
    length = 0 if nothing or no_events else int(rng.integers(1, 40))
    ages = np.sort(rng.exponential(60 * DAY, length).astype(np.int64))[::-1]
    service = [("music", "shop")[int(k)] for k in rng.integers(0, 2, length)]
    items = [f"{s[0]}{taste if rng.random() < 0.8 else rng.integers(TASTES)}-{rng.integers(ITEMS)}" for s in service]
    return {
        "user_id": f"user-{place:03d}",
        "services": service,
        "item_ids": ["unheard-of" if rng.random() < 0.05 else item for item in items],
        "actions": [("view", "buy")[int(k)] for k in rng.integers(0, 2, length)],
        "weights": rng.exponential(2.0, length).astype(np.float32).tolist(),
        "event_times": (AS_OF_US - 1 - ages).tolist(),
        "event_ids": [f"{place}-{n}" for n in range(length)],
        "position": place,
        "as_of": AS_OF,
        "computed_at": AS_OF,
        "created": None if nothing else AS_OF_US - int(rng.integers(-5, 400)) * DAY,
        "picks": None if nothing or place % 3 else [f"m{taste}-{n}" for n in range(3)],
        "country": None if nothing or place % 11 == 3 else ("SE", "DE", "BR")[taste],
        "age": None if nothing or place % 5 == 0 else int(rng.integers(18, 80)),
        "mood": None if nothing or place % 4 == 0 else rng.normal(size=3).tolist(),
    }


def inputs(users: pa.Table, schema: InputSchema = SCHEMA, exclude: tuple[str, ...] = ()) -> TrainingInputs:
    """The users in three buckets."""
    third = -(-users.num_rows // 3)
    return TrainingInputs(
        tables=lambda: (users.slice(start, third) for start in range(0, users.num_rows, third)),
        users=users.num_rows,
        as_of=AS_OF,
        snapshot="20240601-example",
        data_from=None,
        catalogue=catalogue(),
        schema=schema,
        exclude=exclude,
    )


def train_here(
    settings: TrainingSettings, given: TrainingInputs, *overrides: str, family: str = "autoencoder"
) -> TrainedModel:
    """A quick model, trained in this process; overrides take the place of those of QUICK."""
    named = {override.partition("=")[0]: override for override in (*QUICK[family], *overrides)}
    return train(family, list(named.values()), given, settings)
