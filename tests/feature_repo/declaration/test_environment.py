"""Hostile paths: of homes and of files, whatever reads them pastes no path into a pattern, a URL or a template."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from portrait.feature_repo.declaration.environment import feast_config, feast_environment, feast_registry_url
from portrait.feature_repo.history.point_in_time import ASKED
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.duck import connect, plain_path
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import read_inputs_at, read_inputs_offline
from portrait.registry.errors import InvalidInput
from portrait.registry.registry import Registry
from portrait.registry.settings import HomeSettings
from tests.databases import copy_file
from tests.feature_repo.declaration.test_apply import TEAM, take_in
from tests.feature_repo.instance import FOLDER, NOW, feast

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

HOSTILE = [
    "a%20b",
    "a%2Fb",
    "a?b=c&d#e",
    "a'b\"c",
    "back\\slash\\n",
    "a*b",
    "[ab]",
    "a**?[!x]",
    "x=1",
    "user_id=7",
    "$HOME ${PORTRAIT_HOME}",
    "{b}: - #",
    "~",
    "a:b@c",
    "file:x",
    "ä 日本",
    "new\nline",
]
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and not ("\\" in name and set("*?[") & set(name))
)


def decoy(folder: Path) -> None:
    """Beside a folder, others that a pattern of its name would match."""
    for name in ("ab", "aXb", "a", "b", "a b", "1"):
        (folder / name).mkdir(exist_ok=True)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(names)
def test_any_home_is_one_folder(tmp_path: Path, name: str) -> None:
    """In URLs, in feature_store.yaml as Feast reads it and as we do, and in DuckDB's patterns."""
    home = tmp_path / name
    own = FeatureSettings(home=home, registry_url="", feast_registry_url="", online_store_url="")
    if own.home != home:  # resolved: a name that ends in blanks, say, stays
        pytest.fail(f"{own.home} is not {home}")
    assert make_url(own.database_url).database == str(home / "registry.db")
    assert make_url(feast_registry_url(own)).database == str(home / "feast.db")
    config = feast_config(own)
    assert config.online_store.path == str(home / "online.db")
    assert make_url(config.registry.path).database == str(home / "feast.db")

    pasted = (own.feature_repo / "feature_store.yaml").read_text()
    for variable, value in feast_environment(own).items():
        pasted = pasted.replace("${" + variable + "}", value)
    assert yaml.safe_load(pasted)["online_store"]["location"] == str(home / "online.db")

    home.mkdir(exist_ok=True)
    decoy(tmp_path)
    file = home / "stage.duckdb"
    with connect("100MB", home / "spill", database=file) as duck:
        for place in [home, *(other for other in tmp_path.iterdir() if other.is_dir() and other != home)]:
            pa.parquet.write_table(pa.table({"a": [place.name]}), place / "x.parquet")
        query = "SELECT a FROM read_parquet(?, hive_partitioning = false)"
        assert duck.execute(query, [plain_path(home / "x.parquet")]).fetchall() == [(name,)]
        duck.execute("CREATE TABLE kept AS FROM range(3)")
    for place in tmp_path.iterdir():
        shutil.rmtree(place)


def test_what_cannot_be_written_for_duckdb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="backslash"):
        HomeSettings(home=tmp_path / "a\\[b]")
    with pytest.raises(InvalidInput, match="rename a folder"):
        plain_path(tmp_path / "a\\*b")
    with pytest.raises(ValueError, match="whole path"):
        HomeSettings(home=Path("~nobody-of-this-name/home"))


@contextmanager
def instance(folder: Path, name: str, migrated: Path) -> Iterator[FeatureRepo]:
    """An instance whose home and whose folder of `feast apply` have this name."""
    home, repo = folder / "homes" / name, folder / "repos" / name
    for place in (home, repo):
        place.mkdir(parents=True)
        decoy(place.parent)
    for file in ("definitions.py", "feature_store.yaml", ".feastignore"):
        shutil.copy(FOLDER / file, repo)
    copy_file(migrated, home / "registry.db")
    own = FeatureSettings(
        home=home, feature_repo=repo, registry_url="", feast_registry_url="", online_store_url="", broker_url=""
    )
    registry = Registry.open(own.database_url)
    opened = FeatureRepo(own, registry, EventLog(registry.database, own))
    yield opened
    opened.close()
    registry.close()


@pytest.mark.parametrize("name", ["a%20b?x#y", "[ab]*'\"q", "user_id=7", "b\\s$HOME ${X}"])
def test_an_instance_lives_in_a_hostile_home(name: str, migrated_file: Path, tmp_path: Path) -> None:
    """Ingest, snapshot, a team's view, Feast's offline joins, and the online store; nothing lies anywhere else."""
    with instance(tmp_path, name, migrated_file) as repo:
        files = tmp_path / "files" / name
        files.mkdir(parents=True)
        decoy(files.parent)
        take_in(repo, files)
        at = pd.to_datetime(["2023-12-01"], utc=True).as_unit("us")
        rows = pd.DataFrame({"user_id": ["ann"], "at": at, "minutes": [7], "mood": ["a"], "taste": [[0.5, 1.0]]})
        rows.to_parquet(files / "listening.parquet")
        (repo.settings.feature_repo / "listening.py").write_text(TEAM.format(folder=str(files)))
        repo.apply()
        assert repo.publish() == 3
        snapshot = cut_snapshot(repo.log)
        tables = [read_inputs_offline(repo, snapshot, bucket) for bucket in sorted(snapshot.buckets)]
        offline = {row["user_id"]: row for row in pa.concat_tables(tables).to_pylist()}
        assert offline["ann"]["listening__minutes"] == 7 and offline["ann"]["item_ids"] == ["a", "b"]
        asked = pa.table({"user_id": ["ann"], "as_of": [NOW]}, schema=ASKED)
        [now] = read_inputs_at(repo, bucket_of("ann"), asked)
        assert now["item_ids"].to_pylist() == [["a", "b"]] and now["listening__minutes"].to_pylist() == [7]
        assert repo.read_inputs(["ann"])["item_ids"].to_pylist() == [["a", "b"]]
        entity = pd.DataFrame({"user_id": ["ann"], "event_timestamp": pd.Timestamp(NOW)})
        found = repo.feast.get_historical_features(entity, ["user_profile:country"]).to_arrow()
        assert found["country"].to_pylist() == ["FR"]
        assert ingest(repo.log, files / "events.parquet").events.accepted == 0  # known
        for place in ("homes", "repos", "files"):
            assert {path.name for path in (tmp_path / place).iterdir() if any(path.iterdir())} == {name}
        assert {path.name for path in tmp_path.iterdir()} == {"homes", "repos", "files"}
        if name.startswith("["):
            said = feast(repo.settings, "plan")  # Feast's own command line, by what `portrait env` prints
            assert said.returncode == 0 and "No changes to registry" in said.stdout, said.stderr


@pytest.mark.parametrize("name", HOSTILE)
def test_files_with_hostile_names_are_taken_in_whole(name: str, log: EventLog, tmp_path: Path) -> None:
    folder = tmp_path / "files" / name
    folder.mkdir(parents=True)
    decoy(folder.parent)
    for place in folder.parent.iterdir():
        user = "right" if place == folder else "wrong"
        (place / f"{name}.csv").write_text(f"user_id,item_id,event_time\n{user},a,2024-01-01\nx,,never\n")
        pd.DataFrame({"user_id": [user], "country": ["FR"]}).to_parquet(place / f"{name}.parquet")
    report = ingest(log, folder / f"{name}.csv", users=folder / f"{name}.parquet")
    assert report.events.accepted == 1 and report.users.accepted == 1
    assert log.user_ids(bucket_of("right")) == ["right"] and report.events.rejected_rows == 1


def test_a_file_whose_name_begins_with_a_tilde(log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~nobody-of-this-name.csv").write_text("user_id,item_id,event_time\nann,a,2024-01-01\n")
    assert ingest(log, Path("~nobody-of-this-name.csv")).events.accepted == 1
