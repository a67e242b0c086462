"""Training sets: the vectors of a backfill of that time, every label kept, bad rows told, nothing half-written."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.schemas import TIME
from portrait.infra.portrait import Portrait
from portrait.registry.errors import Conflict, InvalidInput
from portrait.training.backfill.backfill import backfill
from portrait.training.backfill.vectors_at_rest import export
from portrait.training.encoding.encoder import load_prior
from portrait.training.pinned import make as make_module
from portrait.training.pinned.bucket import BucketLabeller
from portrait.training.pinned.stamp import read_stamp
from tests.instances import USERS
from tests.training.pinned.made import T, labels_file, make_set, vectors_of
from tests.training.stored import users_of

TICK = timedelta(microseconds=1)


def everybody(portrait: Portrait, path: Path, moment: datetime) -> Path:
    users = users_of(portrait)
    return labels_file(path, [{"user_id": user, "event_time": moment, "n": n} for n, user in enumerate(users)])


def test_as_of_a_backfills_own_time_the_vectors_are_those_of_its_export(
    either_backfilled: Portrait, version_id: str, tmp_path: Path
) -> None:
    version = either_backfilled.registry.versions.get(version_id)
    snapshot = export(either_backfilled.repo, version, tmp_path / "export.parquet")
    labels = everybody(either_backfilled, tmp_path / "labels.parquet", snapshot.as_of)
    made = make_set(either_backfilled, labels, tmp_path / "set.parquet", version_id, grid="0")
    assert made.rows == made.read == USERS and not made.rejected
    exported = pq.read_table(tmp_path / "export.parquet").sort_by("user_id")
    found = pq.read_table(tmp_path / "set.parquet").sort_by("user_id")
    assert found["user_id"].equals(exported["user_id"])
    np.testing.assert_allclose(vectors_of(found), vectors_of(exported), rtol=0, atol=1e-5)


def test_many_times_of_a_user_each_get_the_vectors_of_their_own_time(
    either_backfilled: Portrait, version_id: str, tmp_path: Path
) -> None:
    version = either_backfilled.registry.versions.get(version_id)
    moments = [T, datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 12, 24, tzinfo=UTC)]
    users = users_of(either_backfilled)[::7]
    rows = [{"user_id": user, "event_time": moment} for user in users for moment in moments]
    make_set(either_backfilled, labels_file(tmp_path / "l.parquet", rows), tmp_path / "set.parquet", version_id)
    found = pq.read_table(tmp_path / "set.parquet")
    assert found.num_rows == len(rows)
    for moment in moments:
        export(either_backfilled.repo, version, tmp_path / "export.parquet", moment)
        exported = pq.read_table(tmp_path / "export.parquet")
        mine = found.filter(pc.equal(found["as_of"], pa.scalar(moment, TIME)))
        at = pc.index_in(mine["user_id"].combine_chunks(), value_set=exported["user_id"].combine_chunks())
        np.testing.assert_allclose(vectors_of(mine), vectors_of(exported.take(at)), rtol=0, atol=1e-5)


def test_the_file_has_the_labels_as_they_are_and_says_where_it_comes_from(backfilled: Portrait, tmp_path: Path) -> None:
    user = users_of(backfilled)[0]
    noon = datetime(2024, 9, 1, 12, tzinfo=UTC)
    rows = [
        {"user_id": user, "event_time": noon + timedelta(days=n), "churned": n % 2 == 0, "spent": 1.5 * n, "why": w}
        for n, w in enumerate(["late", None, "früh"])
    ]
    made = make_set(backfilled, labels_file(tmp_path / "l.parquet", rows), tmp_path / "set.parquet")
    table = pq.read_table(tmp_path / "set.parquet")
    assert table.column_names == ["user_id", "event_time", "churned", "spent", "why", "as_of", "vector"]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 16)
    assert table.select(["event_time", "churned", "spent", "why"]).to_pylist() == [
        {k: v for k, v in row.items() if k != "user_id"} for row in rows
    ]
    assert table["as_of"].to_pylist() == [T + timedelta(days=n) for n in range(3)]
    version = backfilled.registry.versions.get("autoencoder-1")
    stamp = read_stamp(tmp_path / "set.parquet")
    assert stamp == made.stamp
    assert (stamp.version, stamp.fingerprint, stamp.consumer, stamp.grid) == (
        "autoencoder-1",
        version.fingerprint,
        "ranker",
        "1d",
    )
    assert table.schema.metadata[b"portrait.fingerprint"].decode() == version.fingerprint


def test_label_columns_may_have_any_name_and_type(backfilled: Portrait, tmp_path: Path) -> None:
    rows = pa.table(
        {
            "reason": pa.array(["moved", None], pa.string()),
            "row": pa.array([2, 1], pa.uint8()),
            "bucket": pa.array([date(2024, 1, 2), date(2024, 1, 3)], pa.date32()),
            'a "b"': pa.array([Decimal("1.25"), Decimal("2.50")], pa.decimal128(9, 2)),
            "many": pa.array([["x"], []], pa.list_(pa.string())),
        }
    )
    labels = rows.append_column("user_id", pa.array(["u000003", "u000003"]))
    pq.write_table(labels, tmp_path / "l.parquet")
    assert make_set(backfilled, tmp_path / "l.parquet", tmp_path / "set.parquet").rows == 2
    found = pq.read_table(tmp_path / "set.parquet")
    assert found.select(rows.column_names).replace_schema_metadata(None).equals(rows)


@pytest.mark.parametrize(
    ("grid", "moment"),
    [("1d", T), ("1h", T.replace(hour=13)), ("12h", T.replace(hour=12)), ("0", T.replace(hour=13, minute=59))],
)
def test_times_are_rounded_down_to_the_grid(backfilled: Portrait, tmp_path: Path, grid: str, moment: datetime) -> None:
    rows = [{"user_id": "u000003", "event_time": T.replace(hour=13, minute=59)}]
    make_set(backfilled, labels_file(tmp_path / "l.parquet", rows), tmp_path / "set.parquet", grid=grid)
    assert pq.read_table(tmp_path / "set.parquet")["as_of"].to_pylist() == [moment]


def test_a_file_without_times_means_the_versions_own(backfilled: Portrait, tmp_path: Path) -> None:
    version = backfilled.registry.versions.get("autoencoder-1")
    (tmp_path / "l.csv").write_text("user_id;taste\nu000003;noir\nu000004;space\n")
    made = make_set(backfilled, tmp_path / "l.csv", tmp_path / "set.parquet")
    table = pq.read_table(tmp_path / "set.parquet")
    assert table.column_names == ["user_id", "taste", "as_of", "vector"]
    assert set(table["as_of"].to_pylist()) == {version.data_to} and made.early == 0
    assert sorted(table["taste"].to_pylist()) == ["noir", "space"]


def test_bad_rows_are_told_with_their_numbers_and_cost_nobody_else(backfilled: Portrait, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(
        "user_id,event_time,y\n"
        "u000003,2024-09-01,1\n"
        ",2024-09-01,1\n"
        "u000003,soon,1\n"
        "u000003,,1\n"
        "u000003,2024-09-01T01:30:00+02:00,0\n"
        "u000003,2024-09-01T00:30:00 Mars/Olympus,0\n"
        "u000003,2999-01-01,0\n"
        "u000003,2024-09-01\n"
        "u000003,1066-10-14,0\n"
    )
    made = make_set(backfilled, tmp_path / "l.csv", tmp_path / "set.parquet")
    assert (made.read, made.rows) == (9, 2)
    assert made.rejected == {
        "user_id is null or empty": 1,
        "event_time is not a time": 2,
        "event_time is null or empty": 1,
        "event_time lies in the future": 1,
        "event_time lies before 1900": 1,
        "malformed line: too few columns": 1,
    }
    assert made.rejects is not None
    assert pq.read_table(made.rejects)["row"].to_pylist() == [2, 3, 4, 6, 7, 8, 9]
    times = sorted(pq.read_table(tmp_path / "set.parquet")["as_of"].to_pylist())
    assert times == [T - timedelta(days=1), T]  # 01:30 in Berlin is the day before in UTC


def test_strangers_and_those_of_whom_nothing_is_known_yet_get_the_prior(backfilled: Portrait, tmp_path: Path) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    rows = [{"user_id": "stranger", "event_time": T}, {"user_id": "u000003", "event_time": T}]
    rows += [{"user_id": "u000003", "event_time": long_ago}]
    made = make_set(backfilled, labels_file(tmp_path / "l.parquet", rows), tmp_path / "set.parquet")
    assert (made.rows, made.unknown, made.priors) == (3, 1, 2)
    table = pq.read_table(tmp_path / "set.parquet")
    version = backfilled.registry.versions.get("autoencoder-1")
    prior = (vectors_of(table) == load_prior(backfilled.settings.home / version.artifact)).all(axis=1).tolist()
    known = zip(table["user_id"].to_pylist(), table["as_of"].to_pylist(), strict=True)
    assert prior == [(user, moment) != ("u000003", T) for user, moment in known]


def test_labels_from_before_the_training_are_counted_and_left_out_when_asked(
    backfilled: Portrait, tmp_path: Path
) -> None:
    trained = backfilled.registry.versions.get("autoencoder-1").data_to
    times = [trained - TICK, trained, trained - timedelta(days=9)]
    labels = labels_file(tmp_path / "l.parquet", [{"user_id": "u000003", "event_time": time} for time in times])
    kept = make_set(backfilled, labels, tmp_path / "all.parquet", grid="0")
    assert (kept.early, kept.early_dropped, kept.rows) == (2, False, 3)
    dropped = make_set(backfilled, labels, tmp_path / "after.parquet", grid="0", after_training=True)
    assert (dropped.early, dropped.early_dropped, dropped.rows, dropped.read) == (2, True, 1, 3)
    assert pq.read_table(tmp_path / "after.parquet")["as_of"].to_pylist() == [trained]
    with pytest.raises(InvalidInput, match=r"no row that can be used \(3 from before 2024-12-31\)"):
        make_set(backfilled, labels, tmp_path / "x.parquet", grid="1d", after_training=True)


def test_the_data_stamp_is_of_the_labels_and_not_of_order_format_or_version(
    backfilled: Portrait, tmp_path: Path
) -> None:
    rows = [{"user_id": f"u00000{n}", "event_time": T + timedelta(days=n), "y": n % 2} for n in range(1, 6)]
    one = labels_file(tmp_path / "one.parquet", rows)
    (tmp_path / "two.csv").write_text(
        "y,user_id,event_time\n" + "".join(f"{r['y']},{r['user_id']},{r['event_time']:%F %T}\n" for r in rows[::-1])
    )
    other = labels_file(tmp_path / "other.parquet", [{**rows[0], "y": 0}, *rows[1:]])
    stamps = [
        make_set(backfilled, path, tmp_path / "set.parquet").stamp.data_stamp
        for path in (one, tmp_path / "two.csv", other)
    ]
    assert stamps[0] == stamps[1] != stamps[2]


def test_ray_gives_the_same_file(backfilled: Portrait, ray_session: None, tmp_path: Path) -> None:
    labels = everybody(backfilled, tmp_path / "labels.parquet", T)
    here = make_set(backfilled, labels, tmp_path / "here.parquet")
    pooled = backfilled.settings.model_copy(update={"ray_from_users": 1, "backfill_workers": 2})
    backfilled.settings = pooled
    there = make_set(backfilled, labels, tmp_path / "there.parquet")
    assert (here.rows, here.unknown, here.priors) == (there.rows, there.unknown, there.priors)
    one, other = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert one.drop_columns("vector").equals(other.drop_columns("vector"))
    np.testing.assert_allclose(vectors_of(one), vectors_of(other), rtol=0, atol=1e-5)


def test_one_that_breaks_leaves_the_former_file_and_nothing_else(
    backfilled: Portrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sets" / "set.parquet"
    out.parent.mkdir()
    labels = everybody(backfilled, tmp_path / "labels.parquet", T)
    make_set(backfilled, labels, out)
    whole, do, done = out.read_bytes(), BucketLabeller.do, []

    def break_after_three(self: BucketLabeller, *buckets: int) -> object:
        done.append(buckets)
        if len(done) > 3:
            raise RuntimeError("broken")
        return do(self, *buckets)

    monkeypatch.setattr(make_module, "GROUP_ROWS", 1)
    monkeypatch.setattr(BucketLabeller, "do", break_after_three)
    with pytest.raises(RuntimeError, match="broken"):
        make_set(backfilled, labels, out)
    assert out.read_bytes() == whole and list(out.parent.iterdir()) == [out]
    assert not list((backfilled.settings.home / "staging").iterdir())


def test_nothing_of_forgotten_users_is_written(backfilled: Portrait, tmp_path: Path) -> None:
    labels = everybody(backfilled, tmp_path / "labels.parquet", T)
    gone = users_of(backfilled)[5]
    backfilled.operations.forget("ann", gone)
    made = make_set(backfilled, labels, tmp_path / "set.parquet")
    assert made.rejected == {"the user was forgotten": 1} and made.rows == USERS - 1
    assert gone not in pq.read_table(tmp_path / "set.parquet")["user_id"].to_pylist()
    assert made.rejects is not None and gone not in str(pq.read_table(made.rejects).to_pylist())


def test_what_cannot_be_done_is_said(backfilled: Portrait, tmp_path: Path) -> None:
    out = tmp_path / "set.parquet"
    good = labels_file(tmp_path / "l.parquet", [{"user_id": "u000003", "event_time": T}])
    bad = labels_file(tmp_path / "bad.parquet", [{"user_id": "u000003", "Vector": 1}])
    with pytest.raises(InvalidInput, match=r"column `Vector`.*rename it"):
        make_set(backfilled, bad, out)
    with pytest.raises(InvalidInput, match=r"--grid '1w'.*1d or 6h"):
        make_set(backfilled, good, out, grid="1w")
    with pytest.raises(InvalidInput, match=r"no folder .*nowhere"):
        make_set(backfilled, good, tmp_path / "nowhere" / "set.parquet")
    with pytest.raises(InvalidInput, match=f"^{tmp_path} is a folder: name the file"):
        make_set(backfilled, good, tmp_path)
    with pytest.raises(InvalidInput, match=f"^{good} is the labels file: write the training set beside it"):
        make_set(backfilled, good, good)
    with pytest.raises(InvalidInput, match=r"no row that can be used \(user_id is null or empty: 1\)"):
        make_set(backfilled, labels_file(tmp_path / "none.parquet", [{"user_id": "", "event_time": T}]), out)
    numbers = labels_file(tmp_path / "numbers.parquet", [{"user_id": "u000003", "event_time": 20240901}])
    with pytest.raises(InvalidInput, match=r"`event_time` of labels file .* must be a timestamp"):
        make_set(backfilled, numbers, out)
    backfilled.registry.versions.fail("autoencoder-1", "wrong data")
    with pytest.raises(Conflict, match="autoencoder-1 is failed"):
        make_set(backfilled, good, out)
    assert not out.exists()


def test_it_needs_no_backfill_and_changes_nothing_online(registered: Portrait, tmp_path: Path) -> None:
    labels = everybody(registered, tmp_path / "labels.parquet", T)
    assert make_set(registered, labels, tmp_path / "set.parquet").rows == USERS
    report = backfill(registered.repo, "autoencoder-1", registered.settings)
    assert report.written_online == USERS
