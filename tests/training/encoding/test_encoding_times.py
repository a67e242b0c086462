"""As-of times of single users, and sign-ups by the second: the same from the online store as from a snapshot."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import TIME, microseconds
from portrait.feature_repo.store.offline_inputs import read_inputs_offline
from portrait.infra.jobs.versions import take_in
from portrait.infra.portrait import Portrait
from portrait.training.encoding.arrays import NO_TIME
from portrait.training.encoding.encoder import load_encoder
from portrait.training.encoding.encoding_times import encoding_times, times

FLOOR = 1_000_000_000


def inputs(*users: tuple[list[int], int | None]) -> pa.Table:
    events, created = zip(*users, strict=True)
    return pa.table({"event_times": pa.array(events, pa.list_(pa.int64())), "created_time": pa.array(created, TIME)})


def test_a_user_is_encoded_just_after_what_is_newest() -> None:
    users = inputs(
        ([], None),
        ([1, 2], None),
        ([5, FLOOR + 7], None),
        ([], FLOOR + 3_000_000),
        ([FLOOR + 7], FLOOR + 2_000_000),
        ([FLOOR + 5_000_000], FLOOR + 2_000_000),
        ([], 5_000_000),
    )
    expected = [FLOOR, FLOOR, FLOOR + 8, FLOOR + 3_000_001, FLOOR + 2_000_001, FLOOR + 5_000_001, FLOOR]
    assert encoding_times(users, FLOOR).tolist() == expected
    # A table cut from a larger one has offsets that do not start at 0.
    assert encoding_times(users.slice(2, 3), FLOOR).tolist() == expected[2:5]
    assert encoding_times(users.slice(0, 0), FLOOR).tolist() == []


def test_times_are_whole_seconds() -> None:
    assert times(pa.array([None, 1_700_000, -1, 0], TIME)).tolist() == [NO_TIME, 1_000_000, -1_000_000, 0]
    assert times(pa.nulls(2)).tolist() == [NO_TIME, NO_TIME]


def test_a_sign_up_is_the_same_online_and_in_a_snapshot(backfilled: Portrait, tmp_path: Path) -> None:
    """With a fraction of a second that the online store drops; between it and the newest event lies half a second."""
    signed_up = datetime(2025, 3, 1, 12, 0, 0, 900_000, tzinfo=UTC)
    last_event = datetime(2025, 3, 1, 12, 0, 0, 400_000, tzinfo=UTC)
    person = {"user_id": "new", "created_time": signed_up, "country": "SE", "onboarding_items": ["music-0000"]}
    pq.write_table(pa.Table.from_pylist([person]), tmp_path / "users.parquet")
    event = {"user_id": "other", "item_id": "music-0000", "service": "music", "event_time": last_event}
    pq.write_table(pa.Table.from_pylist([event]), tmp_path / "events.parquet")
    take_in(backfilled, tmp_path / "events.parquet", None, tmp_path / "users.parquet")
    version = backfilled.registry.versions.get("autoencoder-1")
    encoder = load_encoder(backfilled.settings.home / version.artifact, version.fingerprint)
    online = backfilled.repo.read_inputs(["new"])
    batch = read_inputs_offline(backfilled.repo, cut_snapshot(backfilled.log), bucket_of("new"))
    offline = batch.filter(pa.array([user == "new" for user in batch["user_id"].to_pylist()]))
    second = microseconds(signed_up.replace(microsecond=0))
    for users in (online, offline):
        assert encoding_times(users, 0).tolist() == [second + 1]
    for as_of in (second + 1, microseconds(last_event) + 1, second + 3_600_000_000):
        vector = encoder.encode(online, as_of)
        np.testing.assert_allclose(encoder.encode(offline, as_of), vector, rtol=0, atol=1e-5)
        assert (vector != encoder.prior).any()
    assert (encoder.encode(online, second) == encoder.prior).all()  # before it has signed up
