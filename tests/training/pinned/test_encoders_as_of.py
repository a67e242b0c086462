"""Items as they were known at a time: the encoders of many times, asked in any order."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from portrait.feature_repo.history.catalogue import CatalogueHistory
from portrait.feature_repo.schemas import HISTORY, TIME
from portrait.training.encoding.encoder import load_encoder
from portrait.training.pinned.encoders_as_of import EncodersAsOf
from portrait.training.runs.run import TrainedModel
from tests.training.example import AS_OF_US, population

DAY = 86_400_000_000
BEGAN = AS_OF_US - 10 * DAY


def new_items(names: list[str], commits: list[int], first: list[bool]) -> CatalogueHistory:
    words = ["orbit comet star", "bread oven spice", "forest river moss"]
    rows = pa.table(
        {
            "service": pa.array(["shop"] * len(names), pa.string()),
            "item_id": pa.array(names, pa.string()),
            "text": pa.array([words[n % 3] for n in range(len(names))], pa.string()),
            "tags": pa.array([None] * len(names), pa.list_(pa.string())),
        }
    )
    return CatalogueHistory(rows, np.array(commits, np.int64), np.array(first), BEGAN)


def shopper(item: str, as_of: int, like: pa.Table) -> pa.Table:
    """One user with one event, long ago, as of a time."""
    row = dict.fromkeys(like.column_names) | {
        "user_id": "u", "services": ["shop"], "item_ids": [item], "actions": ["buy"], "weights": [1.0],
        "event_times": [BEGAN - DAY], "event_ids": ["e"], "position": 1, "as_of": None, "computed_at": None,
    }  # fmt: skip
    table = pa.Table.from_pylist([row], like.schema)
    return table.set_column(HISTORY.get_field_index("as_of"), "as_of", pa.array([as_of], pa.int64()).cast(TIME))


def test_an_item_is_known_from_its_commit_on_and_before_the_log_by_its_first_row(either: TrainedModel) -> None:
    path: Path = either.path
    like = population(3)
    history = new_items(["a", "b", "a"], [BEGAN + 2 * DAY, BEGAN + 4 * DAY, BEGAN + 6 * DAY], [True, True, False])
    times = {"before": BEGAN, "early": BEGAN + 2 * DAY, "a": BEGAN + 3 * DAY, "both": BEGAN + 9 * DAY}
    encoders = EncodersAsOf(lambda: load_encoder(path), history, np.array(list(times.values())))

    def seen(name: str, *items: str) -> bool:
        """Whether the vector is that of an encoder that knows these items' first rows, and no others."""
        known = load_encoder(path)
        for place, item in enumerate("ab"):
            if item in items:
                known.learn(history.rows.slice(place, 1), place + 1)
        return all(
            np.allclose(encoders.encode(user), known.encode(user, times[name]), rtol=0, atol=1e-5)
            for user in (shopper(item, times[name], like) for item in "ab")
        )

    assert seen("both", "a", "b") and seen("a", "a") and seen("early") and seen("before", "a", "b")
    assert not seen("both", "a") and not seen("a") and not seen("early", "a")


def test_users_of_several_times_are_encoded_together_each_as_of_its_own(either: TrainedModel) -> None:
    path: Path = either.path
    like = population(3)
    history = new_items(["a", "b"], [BEGAN + 2 * DAY, BEGAN + 4 * DAY], [True, True])
    users = [shopper(item, BEGAN + n * DAY, like) for n in (5, 1, 3, -4, 4) for item in "ab"]
    whole = pa.concat_tables(users)
    encoders = EncodersAsOf(lambda: load_encoder(path), history, whole["as_of"].cast(pa.int64()).to_numpy())
    apart = np.concatenate([encoders.encode(user) for user in users])
    np.testing.assert_allclose(encoders.encode(whole), apart, rtol=0, atol=1e-5)  # what any batch may differ by
