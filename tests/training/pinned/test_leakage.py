"""No leakage: a signal at or after the label's time is not in its vector; one grid step later it is.

Labels are drawn at random. Then a signal that says them is planted at the label's time T: in events, in a change of
the profile, in the texts of items that everybody had used before. A head on the training set as of T must not find it.
That the head would, if the cut were a step later, is the other half of each test.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.infra.jobs.versions import take_in
from portrait.infra.portrait import Portrait
from portrait.training.heads.trained import HeadRequest, train_head
from tests.training.pinned.made import T, commit_all, commit_new, labels_file, make_set, vectors_of
from tests.training.stored import users_of

BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
STEP = timedelta(days=1)

Plant = Callable[[Portrait, dict[str, bool], Path], None]


def plant_events(portrait: Portrait, said: dict[str, bool], folder: Path) -> None:
    """From T on, those of one class are busy with one item."""
    rows = [
        {"user_id": user, "item_id": "music-0001", "service": "music", "event_time": T + timedelta(minutes=20 * n)}
        for user, yes in said.items()
        if yes
        for n in range(20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "events.parquet")
    take_in(portrait, folder / "events.parquet", None, None)


def plant_profiles(portrait: Portrait, said: dict[str, bool], folder: Path) -> None:
    """At T everybody's profile is changed to say the class."""
    rows = [
        {"user_id": u, "plan": "family" if yes else "free", "birth_year": 1990 + 20 * yes} for u, yes in said.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "users.parquet")
    take_in(portrait, None, None, folder / "users.parquet")


def plant_texts(portrait: Portrait, said: dict[str, bool], folder: Path) -> None:
    """Everybody has used one of two new items before T, whose texts come at T."""
    rows = [
        {"user_id": user, "item_id": f"new-{yes}", "service": "music", "event_time": T - timedelta(hours=n)}
        for user, yes in said.items()
        for n in range(1, 21)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "events.parquet")
    take_in(portrait, folder / "events.parquet", None, None)
    texts = [{"item_id": "new-True", "service": "music", "text": "orbit comet galaxy"}]
    texts += [{"item_id": "new-False", "service": "music", "text": "bread oven honey"}]
    pq.write_table(pa.Table.from_pylist(texts), folder / "items.parquet")
    take_in(portrait, None, folder / "items.parquet", None)


PLANTS: dict[str, Plant] = {"events": plant_events, "profiles": plant_profiles, "texts": plant_texts}


@pytest.mark.slow
@pytest.mark.parametrize("what", PLANTS)
def test_a_planted_future_is_found_one_step_later_and_not_before(
    what: str, registered: Portrait, tmp_path: Path
) -> None:
    commit_all(registered, BEGAN)
    users, rng = users_of(registered), np.random.default_rng(5)
    said = dict(zip(users, rng.random(len(users)) < 0.5, strict=True))
    PLANTS[what](registered, said, tmp_path)
    commit_new(registered, BEGAN, T)
    auc = {}
    for name, moment in (("before", T), ("after", T + STEP)):
        rows = [{"user_id": user, "event_time": moment, "y": bool(yes)} for user, yes in said.items()]
        labels = labels_file(tmp_path / "labels.parquet", rows)
        make_set(registered, labels, tmp_path / f"{name}.parquet")
        version = registered.registry.versions.get("autoencoder-1")
        request = HeadRequest("ranker", version, (tmp_path / f"{name}.parquet",), "y")
        auc[name] = train_head(registered.settings.home, request).interval
    assert auc["before"].low < 0.5 and auc["before"].value < 0.65  # a few dozen test users: .5 give or take .08
    assert auc["after"].value > 0.9


@pytest.mark.slow
def test_what_was_taken_in_in_bulk_counts_as_it_was_first_told(
    either_registered: Portrait, version_id: str, tmp_path: Path
) -> None:
    """All of the log is younger than the labels: a profile that changed, and events from T on, change no bit."""
    users = users_of(either_registered)
    said = dict.fromkeys(users, True)
    rows = [{"user_id": user, "event_time": T} for user in users]
    labels = labels_file(tmp_path / "labels.parquet", rows)
    made = make_set(either_registered, labels, tmp_path / "before.parquet", version_id)
    assert made.before_log == made.rows == len(users)
    plant_events(either_registered, said, tmp_path)
    plant_profiles(either_registered, said, tmp_path)
    make_set(either_registered, labels, tmp_path / "after.parquet", version_id)
    before, after = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("before", "after"))
    assert before["user_id"].equals(after["user_id"])
    np.testing.assert_array_equal(vectors_of(before), vectors_of(after))


def test_the_first_text_of_an_item_counts_before_the_log_began_and_a_later_one_never(
    registered: Portrait, tmp_path: Path
) -> None:
    user = users_of(registered)[0]
    event = {"user_id": user, "item_id": "new", "service": "music", "event_time": T - STEP}
    pq.write_table(pa.Table.from_pylist([event]), tmp_path / "events.parquet")
    take_in(registered, tmp_path / "events.parquet", None, None)
    labels = labels_file(tmp_path / "labels.parquet", [{"user_id": user, "event_time": T}])
    vectors = {}
    for name, text in (("untold", None), ("told", "orbit comet galaxy"), ("told otherwise", "bread oven honey")):
        if text:
            item = [{"item_id": "new", "service": "music", "text": text}]
            pq.write_table(pa.Table.from_pylist(item), tmp_path / "items.parquet")
            take_in(registered, None, tmp_path / "items.parquet", None)
        make_set(registered, labels, tmp_path / "set.parquet")
        vectors[name] = vectors_of(pq.read_table(tmp_path / "set.parquet"))[0]
    assert np.abs(vectors["told"] - vectors["untold"]).max() > 0.01
    np.testing.assert_array_equal(vectors["told"], vectors["told otherwise"])
