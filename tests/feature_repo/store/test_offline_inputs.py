"""Teams' features beside a snapshot: joined anew when a file changes, and a broken file is told by view and file."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from feast import FileSource

from portrait.feature_repo.declaration.local_sources import LocalFiles
from portrait.feature_repo.declaration.offline_store import read_source
from portrait.feature_repo.history.point_in_time import ASKED
from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import join_teams, read_inputs_at, read_inputs_offline
from portrait.registry.errors import InvalidInput
from portrait.registry.registry import Registry
from tests.databases import copy_file
from tests.feature_repo.declaration.test_apply import TEAM, take_in
from tests.feature_repo.instance import FOLDER

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

USERS = ["ann", "bob", "zoe"]
Joined = tuple[FeatureRepo, Snapshot, Path]


def rows(**changes: object) -> pd.DataFrame:
    """A row for each user."""
    at = pd.to_datetime(["2023-12-01"] * 3, utc=True).as_unit("us")
    columns = {"user_id": USERS, "at": at, "minutes": [1, 2, 3], "mood": list("abc"), "taste": [[0.5, 1.0]] * 3}
    return pd.DataFrame(columns | changes)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[FeatureRepo]:
    """Three users and the views `listening` and `walking` of two teams; made once, as applying takes seconds."""
    folder = tmp_path_factory.mktemp("teams")
    (folder / "repo").mkdir()
    for name in ("definitions.py", "feature_store.yaml", ".feastignore"):
        shutil.copy(FOLDER / name, folder / "repo")
    declared = TEAM.format(folder=str(folder))
    (folder / "repo" / "listening.py").write_text(declared)
    (folder / "repo" / "walking.py").write_text(declared.replace("listening", "walking"))
    (folder / "home").mkdir()
    copy_file(migrated_file, folder / "home" / "registry.db")
    settings = FeatureSettings(home=folder / "home", feature_repo=folder / "repo")
    registry = Registry.open(settings.database_url)
    repo = FeatureRepo(settings, registry, EventLog(registry.database, settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own
        take_in(repo, folder / "files")
        repo.apply()
    yield repo
    repo.close()
    registry.close()


@pytest.fixture
def joined(applied: FeatureRepo) -> Joined:
    """The instance, its snapshot and the file of `listening`; both files are as they should be, nothing is joined."""
    folder = applied.settings.home.parent
    shutil.rmtree(applied.settings.home / "snapshots" / "team", ignore_errors=True)
    for name in ("listening", "walking"):
        file = folder / f"{name}.parquet"
        shutil.rmtree(file) if file.is_dir() else None
        rows().to_parquet(file)
    return applied, cut_snapshot(applied.log), folder / "listening.parquet"


def minutes(repo: FeatureRepo, snapshot: Snapshot, view: str = "listening", **fields: object) -> dict[str, int]:
    joins = join_teams(repo, snapshot, **fields)
    tables = [read_inputs_offline(repo, snapshot, bucket, joins) for bucket in sorted(snapshot.buckets)]
    table = pa.concat_tables(tables)
    return dict(zip(table["user_id"].to_pylist(), table[f"{view}__minutes"].to_pylist(), strict=True))


def test_a_corrected_file_is_joined_anew(joined: Joined) -> None:
    repo, snapshot, file = joined
    assert minutes(repo, snapshot) == {"ann": 1, "bob": 2, "zoe": 3}
    before, first = file.stat(), join_teams(repo, snapshot)
    rows(minutes=[7, 8, 9]).to_parquet(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` and `rsync -t` do
    assert file.stat().st_size == before.st_size
    assert minutes(repo, snapshot) == {"ann": 7, "bob": 8, "zoe": 9}
    changed = join_teams(repo, snapshot)
    assert changed.stamp[0] != first.stamp[0] and changed.stamp[1] == first.stamp[1]  # walking's file is the same
    shutil.rmtree(repo.settings.home / "snapshots" / "team" / changed.stamp[1])
    file.touch()  # the same content is no correction
    assert join_teams(repo, snapshot) == changed


def test_a_join_in_use_stays_as_it_was(joined: Joined) -> None:
    repo, snapshot, file = joined
    joins = join_teams(repo, snapshot)
    file.unlink()
    tables = [read_inputs_offline(repo, snapshot, bucket, joins) for bucket in sorted(snapshot.buckets)]
    assert sorted(pa.concat_tables(tables)["listening__minutes"].to_pylist()) == [1, 2, 3]


def test_a_new_file_of_a_folder_counts(joined: Joined) -> None:
    repo, snapshot, file = joined
    file.unlink()
    file.mkdir()
    rows().head(2).to_parquet(file / "a.parquet")
    assert minutes(repo, snapshot) == {"ann": 1, "bob": 2, "zoe": None}
    rows().tail(1).to_parquet(file / "b.parquet")
    assert minutes(repo, snapshot) == {"ann": 1, "bob": 2, "zoe": 3}


def cut(file: Path) -> None:
    rows().to_parquet(file)
    file.write_bytes(file.read_bytes()[:-100])


def spoilt(file: Path) -> None:
    """The footer is whole, the pages are not."""
    rows().to_parquet(file, compression="zstd")
    content = bytearray(file.read_bytes())
    content[4:600] = b"\xff" * 596
    file.write_bytes(content)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    rows().to_parquet(file / "a.parquet")
    rows().drop(columns="mood").to_parquet(file / "b.parquet")


def empty_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "there is no such file"),
    "cut": (cut, "no Parquet file that can be read"),
    "empty": (lambda file: file.write_bytes(b""), "no Parquet file that can be read"),
    "pages": (spoilt, ""),
    "text": (lambda file: file.write_text("user_id,minutes\nann,1\n"), "no Parquet file that can be read"),
    "ids": (lambda file: rows(user_id=[1, 2, 3]).to_parquet(file), "'user_id' is int64, and ids of users are text"),
    "number": (lambda file: rows(minutes=["x", "2", "3"]).to_parquet(file), "column 'minutes' is declared as int64"),
    "half": (lambda file: rows(minutes=[1.5, 2.0, 3.0]).to_parquet(file), "column 'minutes' is declared as int64"),
    "time": (lambda file: rows(at=["x", "y", "z"]).to_parquet(file), "timestamp"),
    "no key": (lambda file: rows().drop(columns="user_id").to_parquet(file), "no column 'user_id'"),
    "no time": (lambda file: rows().drop(columns="at").to_parquet(file), "no column 'at'"),
    "no column": (lambda file: rows().drop(columns="mood").to_parquet(file), "no column 'mood'"),
    "folder": (folder, "b.parquet: it has no column 'mood'"),
    "no files": (empty_folder, "no Parquet"),
    "list": (lambda file: rows(taste=["a", "b", "c"]).to_parquet(file), "column 'taste'"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_is_named_and_stops_nobody_else(how: str, joined: Joined) -> None:
    repo, snapshot, file = joined
    spoil, why = BROKEN[how]
    spoil(file)
    asked = pa.table({"user_id": ["ann"], "as_of": [snapshot.as_of]}, schema=ASKED)
    for read in (
        lambda: join_teams(repo, snapshot),
        lambda: join_teams(repo, snapshot, ["listening__minutes", "listening__mood", "listening__taste"]),
        lambda: list(read_inputs_at(repo, bucket_of("ann"), asked)),
    ):
        with pytest.raises(InvalidInput, match="view listening cannot be joined") as raised:
            read()
        said = str(raised.value)
        assert str(file) in said and why in said and "\n" not in said, said
    assert minutes(repo, snapshot, "walking", fields=["walking__minutes"]) == {"ann": 1, "bob": 2, "zoe": 3}
    [table] = read_inputs_at(repo, bucket_of("ann"), asked, fields=["walking__minutes"])
    assert table["walking__minutes"].to_pylist() == [1]
    assert not list((repo.settings.home / "staging").glob("team-*"))
    if why.startswith(("column 'minutes'", "no column 'mood'")):  # the other columns of the view are whole
        assert join_teams(repo, snapshot, ["listening__taste"]).folders


def test_a_path_that_is_relative_or_a_pattern(joined: Joined, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path starts in the folder of `feast apply`, wherever a command is called."""
    folder = joined[0].settings.feature_repo
    for name in ("own", "a[b]"):
        (folder / name).mkdir()
        rows().to_parquet(folder / name / "a.parquet")
    monkeypatch.chdir(tmp_path)

    def files(path: str) -> list[Path]:
        source = FileSource(path=path, timestamp_field="at")
        found = LocalFiles.of(source, folder)
        assert found is not None
        assert read_source(source, str(folder)).count().execute() == 3 * len(found.files)
        return list(found.files)

    own = folder / "own" / "a.parquet"
    assert files("own/a.parquet") == files(f"{folder}/own/*.parquet") == files("own") == files(f"file://{own}") == [own]
    assert files("a[b]") == [folder / "a[b]" / "a.parquet"]
    assert LocalFiles.of(FileSource(path="s3://bucket/a.parquet", timestamp_field="at"), folder) is None
