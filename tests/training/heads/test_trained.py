"""Heads from training sets: users apart, an interval, a folder, and no mixing of spaces."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Conflict, FingerprintMismatch, InvalidInput
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.backfill.vectors_at_rest import vector_array
from portrait.training.heads.head import load_head
from portrait.training.heads.trained import HeadRequest, train_head
from portrait.training.metrics.user_split import part_of
from portrait.training.pinned.stamp import Stamp, read_sets, read_stamp

T = datetime(2024, 9, 1, tzinfo=UTC)
STAMP = Stamp("autoencoder-1", "a" * 64, "ranker", "1d", "0123456789abcdef")
VERSION = EmbeddingVersion(
    id="autoencoder-1", family="autoencoder", number=1, fingerprint="a" * 64, dimension=6, state=VersionState.READY,
    failure=None, run="run", artifact="artifacts/run", parent=None, snapshot="s", data_from=None, data_to=T,
    feature_schema={}, config={}, metrics={}, code_revision="test", created_at=T, last_as_of=None,
)  # fmt: skip


def write_set(path: Path, stamp: Stamp = STAMP, users: int = 400, seed: int = 0, rows: int = 2) -> Path:
    """Users with some rows each; the label `y` shifts the vector, `noise` says nothing, `kind` has three values."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(users), rows)
    y = rng.integers(2, size=len(owner))
    vectors = rng.normal(size=(len(owner), 6)).astype(np.float32)
    vectors[:, 0] += 2 * y
    column = vector_array(vectors)
    table = pa.table(
        {
            "user_id": pa.array([f"u{n}" for n in owner]),
            "event_time": pa.array([T] * len(owner), pa.timestamp("us", "UTC")),
            "y": pa.array(y == 1),
            "noise": pa.array(rng.integers(2, size=len(owner))),
            "kind": pa.array([("a", "b", None, "c")[n % 4] for n in range(len(owner))]),
            "as_of": pa.array([T - timedelta(days=n % rows) for n in range(len(owner))], pa.timestamp("us", "UTC")),
            "vector": column,
        }
    )
    pq.write_table(table.replace_schema_metadata(stamp.metadata()), path)
    return path


def request(*data: Path, label: str = "y", **further: str) -> HeadRequest:
    return HeadRequest("ranker", VERSION, data, label, **further)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["logistic", "mlp", "boosting"])
def test_a_head_finds_what_is_there_and_says_how_sure_that_is(tmp_path: Path, kind: str) -> None:
    trained = train_head(tmp_path, request(write_set(tmp_path / "set.parquet"), kind=kind))
    auc = trained.interval
    assert auc.low < 0.92 < auc.high and auc.value > 0.85  # a shift of two deviations: .921
    assert auc.high - auc.low < 0.15
    assert trained.users == {part: count for part, count in trained.users.items() if count > 60}
    assert sum(trained.users.values()) == 400 and sum(trained.examples.values()) == 800
    assert trained.as_of == T
    about = trained.head.about
    assert (about.version, about.fingerprint, about.task) == ("autoencoder-1", "a" * 64, "y")
    assert about.metrics["auc"] == auc.value and about.metrics["auc_low"] == auc.low
    back = load_head(tmp_path / trained.location)
    assert back.about == about and back.names == ("false", "true") and back.kind == kind


def test_noise_is_not_found(tmp_path: Path) -> None:
    auc = train_head(tmp_path, request(write_set(tmp_path / "set.parquet"), label="noise")).interval
    assert auc.low < 0.5 < auc.high


def test_users_are_apart_and_the_same_in_every_set(tmp_path: Path) -> None:
    """Which part a user is in depends on the id alone, whatever the labels."""
    one = train_head(tmp_path, request(write_set(tmp_path / "one.parquet", seed=1), name="one"))
    other = train_head(tmp_path, request(write_set(tmp_path / "other.parquet", seed=2), name="other"))
    assert one.users == other.users
    parts = [part_of(f"u{n}") for n in range(400)]
    assert one.users == {part: parts.count(part) for part in one.users}  # type: ignore[call-overload]


def test_the_same_request_gives_the_same_head_and_a_taken_name_is_refused(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set.parquet")
    first, again = (train_head(tmp_path, request(data, name="mine")) for _ in range(2))
    assert first.location == again.location == "heads/ranker/mine"
    with pytest.raises(Conflict, match="another head"):
        train_head(tmp_path, request(data, label="noise", name="mine"))
    with pytest.raises(InvalidInput, match=r"cannot be called '\.\./x'"):
        train_head(tmp_path, request(data, name="../x"))
    assert not list((tmp_path / "staging").iterdir())


def test_classes_are_text_and_rows_without_one_are_left_out(tmp_path: Path) -> None:
    trained = train_head(tmp_path, request(write_set(tmp_path / "set.parquet"), label="kind"))
    assert trained.head.names == ("a", "b", "c") and trained.unlabelled == 200
    assert sum(trained.examples.values()) == 600


def test_several_sets_of_one_version_are_one(tmp_path: Path) -> None:
    one = write_set(tmp_path / "one.parquet", seed=1)
    other = write_set(tmp_path / "other.parquet", replace(STAMP, data_stamp="fedcba9876543210"), seed=2)
    both = read_sets([one, other], "y")
    assert len(both.labels) == len(both.vectors) == 1600
    assert both.stamp.data_stamp == read_sets([other, one], "y").stamp.data_stamp
    assert both.stamp.data_stamp not in (STAMP.data_stamp, "fedcba9876543210")
    assert read_sets([one], "y").stamp == STAMP == read_stamp(one)
    assert sum(train_head(tmp_path, request(one, other)).examples.values()) == 1600


def test_two_spaces_are_never_mixed(tmp_path: Path) -> None:
    mine = write_set(tmp_path / "mine.parquet")
    foreign = write_set(tmp_path / "foreign.parquet", replace(STAMP, version="autoencoder-2", fingerprint="b" * 64))
    with pytest.raises(FingerprintMismatch, match=f"autoencoder-1 .*{'a' * 64}.*autoencoder-2 .*{'b' * 64}"):
        train_head(tmp_path, request(mine, foreign))
    with pytest.raises(FingerprintMismatch, match=f"autoencoder-2 .*{'b' * 64}.*autoencoder-1 .*{'a' * 64}"):
        train_head(tmp_path, request(foreign))
    assert not (tmp_path / "heads").exists()


def test_what_cannot_be_learnt_from_is_said(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set.parquet")
    with pytest.raises(InvalidInput, match=r"no label column `churned`; it has: y, noise, kind"):
        train_head(tmp_path, request(data, label="churned"))
    with pytest.raises(InvalidInput, match=r"of 20 labelled users .* part"):
        train_head(tmp_path, request(write_set(tmp_path / "few.parquet", users=20)))
    pq.write_table(pa.table({"user_id": ["u"], "vector": [[1.0]]}), tmp_path / "other.parquet")
    with pytest.raises(InvalidInput, match="is no training set"):
        train_head(tmp_path, request(tmp_path / "other.parquet"))
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(InvalidInput, match="no Parquet file that can be read"):
        train_head(tmp_path, request(tmp_path / "text.parquet"))


def test_users_who_were_forgotten_since_are_left_out(tmp_path: Path) -> None:
    """The head is the one of a set without their rows; its data stamp is not that of the whole set."""
    data = write_set(tmp_path / "set.parquet")
    whole = pq.read_table(data)
    gone = {"u3", "u7"}
    pq.write_table(whole.filter(pa.array([user not in gone for user in whole["user_id"].to_pylist()])), tmp_path / "r")
    asked: list[object] = []

    def forgotten_among(users: Collection[str]) -> set[str]:
        asked.extend(users)
        return gone

    left = train_head(tmp_path, request(data, name="left"), forgotten_among)
    rest = train_head(tmp_path, request(tmp_path / "r", name="rest"))
    assert sorted(asked) == sorted({f"u{n}" for n in range(400)})
    assert (left.forgotten, rest.forgotten) == (2, 0)
    assert left.examples == rest.examples and left.interval == rest.interval
    assert left.head.about.data_stamp not in (rest.head.about.data_stamp, STAMP.data_stamp)
    assert rest.head.about.data_stamp == STAMP.data_stamp
    assert train_head(tmp_path, request(data), forgotten_among).head.about == left.head.about  # again: the same
