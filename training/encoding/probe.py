"""The probe of an artifact: made-up users and their vectors, which loading encodes again and compares."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from portrait.feature_repo.declaration.input_schema import Field, FieldKind, InputSchema
from portrait.feature_repo.schemas import HISTORY, TIME
from portrait.training.encoding.arrays import DAY_US, Float32, Int64
from portrait.training.encoding.artifact import Content
from portrait.training.encoding.sealed_folder import SHOWN
from portrait.training.encoding.tensor_files import save_tensors
from portrait.training.encoding.vocabulary import SEPARATOR

TOLERANCE = 1e-4  # of z, whose deviation is about 1; another processor rounds otherwise
LENGTHS = (0, 1, 3, 12, 40, 100, 0, 25)  # events of each probe user
BLANK = 0  # the user of whom nothing is known


def probe_users(content: Content, as_of: int) -> tuple[pa.Table, Int64]:
    """Users in the columns of `snapshot.read`, and their as-of times.

    They are drawn from the artifact's own vocabularies: nobody's real data.
    """
    rng = np.random.default_rng(int.from_bytes(content.fingerprint.encode()[:4]))
    schema = InputSchema.from_json(content.document["schema"])
    vocabularies = content.document["vocabularies"]
    keys = [key.split(SEPARATOR, 1) for key in content.items] or [["probe", "probe"]]
    histories = [_history(rng, keys, vocabularies["actions"] or ["probe"], length, as_of) for length in LENGTHS]
    columns: dict[str, Any] = {"user_id": [f"probe-{place}" for place in range(len(LENGTHS))]}
    columns |= {name: [history[name] for history in histories] for name in histories[0]}
    columns |= {name: [None] * len(LENGTHS) for name in ("position", "as_of", "computed_at")}
    users = pa.table(columns, schema=HISTORY)
    created = [None if place == BLANK else as_of - (place + 1) * 40 * DAY_US for place in range(len(LENGTHS))]
    picks = [
        [] if place == BLANK else [keys[i][1] for i in rng.integers(len(keys), size=3)] for place in range(len(LENGTHS))
    ]
    users = users.append_column("created_time", pa.array(created, TIME))
    users = users.append_column("onboarding_items", pa.array(picks, pa.list_(pa.string())))
    for field in (*schema.profile, *schema.team):
        users = users.append_column(
            field.name, _field(rng, field, vocabularies["categories"].get(field.name) or ["probe"])
        )
    return users, np.full(len(LENGTHS), as_of, dtype=np.int64)


def save(folder: Path, users: pa.Table, as_of: Int64, vectors: Float32) -> None:
    """Store probe users, their as-of times and their vectors."""
    pq.write_table(users, folder / "probe.parquet")
    save_tensors({"as_of": as_of, "vectors": vectors}, folder / "probe.safetensors")


def load(folder: Path) -> tuple[pa.Table, Int64, Float32]:
    """Probe users, their as-of times and their vectors."""
    stored = load_file(folder / "probe.safetensors")
    return pq.read_table(folder / "probe.parquet", partitioning=None), stored["as_of"], stored["vectors"]


def difference(found: Float32, expected: Float32) -> float:
    """The largest absolute difference; infinite between vectors of different shapes."""
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")


def digest(vectors: Float32) -> str:
    """The first digits of the vectors' SHA-256, for messages."""
    return hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()[:SHOWN]


def _history(
    rng: np.random.Generator, keys: list[list[str]], actions: list[str], length: int, as_of: int
) -> dict[str, list[Any]]:
    picked = [keys[place] for place in rng.integers(len(keys), size=length)]
    ages = np.sort(rng.exponential(60.0, size=length))[::-1]
    return {
        "services": [service for service, _ in picked],
        "item_ids": [item for _, item in picked],
        "actions": [actions[place] for place in rng.integers(len(actions), size=length)],
        "weights": rng.exponential(2.0, size=length).astype(np.float32).tolist(),
        "event_times": (as_of - 1 - (ages * DAY_US).astype(np.int64)).tolist(),
        "event_ids": [f"probe-{place}" for place in range(length)],
    }


def _field(rng: np.random.Generator, field: Field, categories: list[str]) -> pa.Array:
    """A value for every probe user but the blank one."""
    shown = [place for place in range(len(LENGTHS)) if place != BLANK]
    if field.kind == FieldKind.CATEGORY:
        values: list[Any] = [categories[place % len(categories)] for place in shown]
        return pa.array([None, *values], pa.string())
    if field.kind == FieldKind.NUMBER:
        return pa.array([None, *rng.normal(size=len(shown)).tolist()], pa.float64())
    return pa.array([None, *rng.normal(size=(len(shown), field.length)).tolist()], pa.list_(pa.float32()))
