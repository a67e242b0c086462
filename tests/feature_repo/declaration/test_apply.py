"""Applying: Feast's own command line has nothing left to do, and nothing is dropped by mistake."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from sqlalchemy import text

from portrait.feature_repo.declaration.apply import parse_definitions
from portrait.feature_repo.declaration.environment import feast_config
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import read_inputs_offline
from portrait.registry.errors import FingerprintMismatch, InvalidInput, RegistryUnusable
from portrait.registry.records.records import EmbeddingVersion
from tests.feature_repo.instance import (
    FOLDER,
    NOW,
    feast,
    promote,
    register,
    require_nothing_to_do,
    retire,
    write,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TEAM = """
import os
from datetime import timedelta

from feast import FeatureView, Field, FileSource
from feast.types import Array, Float32, Int64, String

from portrait.feature_repo.entities import user

source = FileSource(name="listening_files", path=os.path.join({folder!r}, "listening.parquet"), timestamp_field="at")
listening = FeatureView(
    name="listening",
    entities=[user],
    schema=[
        Field(name="user_id", dtype=String),
        Field(name="minutes", dtype=Int64),
        Field(name="mood", dtype=String),
        Field(name="taste", dtype=Array(Float32), vector_length=2),
    ],
    source=source,
    tags={{"representation_inputs": "true"}},
)
"""


def take_in(repo: FeatureRepo, folder: Path) -> None:
    """Three users: ann with two events and a profile, bob with one event, zoe with a profile only."""
    folder.mkdir(exist_ok=True)
    times = pd.to_datetime(["2024-01-01", "2024-01-03", "2024-01-02"], utc=True)
    events = pd.DataFrame({"user_id": ["ann", "ann", "bob"], "item_id": ["a", "b", "a"], "event_time": times})
    events["service"] = ["music", "shop", "music"]
    users = pd.DataFrame({"user_id": ["ann", "zoe"], "country": ["FR", None], "age": [33, 44]})
    users["created_time"] = pd.to_datetime(["2023-12-01T10:00:00", "2023-12-02T00:00:00"], utc=True)
    users["onboarding_items"] = [["a", "b"], None]
    items = pd.DataFrame({"item_id": ["a", "b"], "service": ["music", "shop"], "text": ["la la", "socks"]})
    for name, frame in (("events", events), ("users", users), ("items", items)):
        frame.to_parquet(folder / f"{name}.parquet", coerce_timestamps="us")
    ingest(repo.log, folder / "events.parquet", folder / "items.parquet", folder / "users.parquet")


def test_every_module_of_the_package_is_ignored_by_feast() -> None:
    from feast.repo_operations import get_repo_files

    assert [file.name for file in get_repo_files(FOLDER)] == ["definitions.py"]


def test_feast_finds_nothing_to_do_after_apply(repo: FeatureRepo, tmp_path: Path) -> None:
    changes = repo.apply()
    assert "created feature view user_history" in changes
    assert repo.apply() == []
    take_in(repo, tmp_path / "files")
    assert "updated feature view user_profile" in repo.apply()
    version = register(repo)
    promote(repo, "homepage_ranker", version)
    (repo.settings.feature_repo / "listening.py").write_text(TEAM.format(folder=str(tmp_path)))
    assert {"created feature view user_embedding__autoencoder_1", "created feature service homepage_ranker"} <= set(
        repo.apply()
    )
    require_nothing_to_do(repo.settings)
    assert repo.apply() == []


def test_a_consumer_reads_its_version_by_plain_feast(repo: FeatureRepo) -> None:
    first, second = register(repo, 1), register(repo, 2)
    promote(repo, "homepage_ranker", first)
    repo.apply()
    drawn = np.random.default_rng(0).normal(size=(2, 2, 3)).astype(np.float32)
    for version, vectors in zip((first, second), drawn, strict=True):
        assert write(repo, version, vectors, ["ann", "bob"]) == 2
        assert repo.count_vectors(version) == 2
        assert repo.read_vectors(version, ["bob"]).vectors.tobytes() == vectors[1].tobytes()
    promote(repo, "search", second)
    repo.apply()
    plain = FeatureStore(config=feast_config(repo.settings))
    for consumer, vectors in (("homepage_ranker", drawn[0]), ("search", drawn[1])):
        answer = plain.get_online_features(
            plain.get_feature_service(consumer), [{"user_id": "ann"}, {"user_id": "bob"}], full_feature_names=True
        ).to_dict()
        assert np.float32(answer["user_embedding__vector"]).tobytes() == vectors.tobytes()
    plain.registry.write_engine.dispose()


def test_spaces_are_never_mixed(repo: FeatureRepo) -> None:
    version = register(repo)
    repo.apply()
    vectors = np.zeros((1, 3), np.float32)
    with pytest.raises(FingerprintMismatch, match=f"holds vectors of {version.fingerprint}, these are of {'f' * 64}"):
        write(repo, replace(version, fingerprint="f" * 64), vectors, ["ann"])
    with pytest.raises(InvalidInput, match=r"shape \(1, 2\)"):
        write(repo, version, vectors[:, :2], ["ann"])
    with pytest.raises(InvalidInput, match=r"'ann'.*not finite"):
        write(repo, version, vectors * np.float32(np.nan), ["ann"])


def test_inputs_are_the_same_online_and_offline(repo: FeatureRepo, tmp_path: Path) -> None:
    take_in(repo, tmp_path / "files")
    repo.apply()
    assert repo.publish() == 3
    assert repo.publish() == 0
    online = repo.read_inputs(["zoe", "nobody", "bob", "ann"])
    position, newest = repo.read_history_ends(["zoe", "nobody", "bob", "ann"])
    assert position.tolist() == online["position"].to_pylist()
    assert newest.tolist() == [max(times, default=0) for times in online["event_times"].to_pylist()]
    snapshot = cut_snapshot(repo.log)
    offline = pa.concat_tables([read_inputs_offline(repo, snapshot, bucket) for bucket in snapshot.buckets])
    assert online.column_names == offline.column_names
    offline_rows = {row["user_id"]: row for row in offline.drop_columns("computed_at").to_pylist()}
    online_rows = {row["user_id"]: row for row in online.drop_columns("computed_at").to_pylist()}
    nobody = online_rows.pop("nobody")
    assert online_rows == offline_rows
    assert online.schema.types == offline.schema.types
    assert nobody["item_ids"] == [] and nobody["position"] == 0 and nobody["country"] is None
    assert [field.name for field in repo.input_schema().profile] == ["age", "country"]


def test_plain_feast_reads_snapshots_from_before_a_column(repo: FeatureRepo, tmp_path: Path) -> None:
    take_in(repo, tmp_path / "files")
    repo.apply()
    first = cut_snapshot(repo.log)
    users = pd.DataFrame({"user_id": ["zoe"], "plan": ["gold"]})
    users.to_parquet(tmp_path / "more.parquet")
    ingest(repo.log, users=tmp_path / "more.parquet")
    assert "updated feature view user_profile" in repo.apply()
    asked = pd.DataFrame({"user_id": ["ann", "zoe"], "event_timestamp": pd.Timestamp(NOW)})
    for expected in ([None, None], [None, "gold"]):
        job = repo.feast.get_historical_features(asked.copy(), ["user_profile:plan", "user_profile:country"])
        found = job.to_arrow().sort_by("user_id").to_pydict()
        assert found["plan"] == expected
        assert found["country"] == ["FR", None]
        assert cut_snapshot(repo.log).id != first.id
    repo.feast.materialize(NOW.replace(year=2020), NOW, feature_views=["user_history", "user_profile"])
    assert repo.read_inputs(["zoe"])["plan"].to_pylist() == ["gold"]


def test_a_teams_view_joins_the_inputs(repo: FeatureRepo, tmp_path: Path) -> None:
    take_in(repo, tmp_path / "files")
    repo.apply()
    assert repo.input_schema().team == ()
    at = pd.to_datetime(["2024-01-01", "2024-01-03", "2024-01-03", "2024-01-02"], utc=True).as_unit("us")
    rows = pd.DataFrame({"user_id": ["ann", "ann", "bob", "zoe"], "at": at, "minutes": [1, 2, 3, 4]})
    rows["mood"], rows["taste"] = ["blue", "gay", None, "calm"], [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0], [3.5, 4.0]]
    rows.to_parquet(tmp_path / "listening.parquet")
    (repo.settings.feature_repo / "listening.py").write_text(TEAM.format(folder=str(tmp_path)))
    assert "updated feature service representation_inputs" in repo.apply()
    assert repo.apply() == []
    fields = {field.name: (field.kind, field.length) for field in repo.input_schema().team}
    assert fields == {
        "listening__minutes": ("number", 1),
        "listening__mood": ("category", 1),
        "listening__taste": ("vector", 2),
    }

    snapshot = cut_snapshot(repo.log, datetime(2024, 1, 3, tzinfo=UTC))  # rows of the very moment are after it
    offline = pa.concat_tables([read_inputs_offline(repo, snapshot, bucket) for bucket in sorted(snapshot.buckets)])
    minutes = dict(zip(offline["user_id"].to_pylist(), offline["listening__minutes"].to_pylist(), strict=True))
    assert minutes == {"ann": 1, "bob": None, "zoe": 4}

    repo.feast.write_to_online_store("listening", rows.iloc[[1, 2]])
    repo.publish()
    online = repo.read_inputs(["bob", "ann", "zoe"])
    assert online.schema.types == offline.schema.types
    assert online["listening__minutes"].to_pylist() == [3, 2, None]
    assert online["listening__taste"].to_pylist() == [[2.5, 3.0], [1.5, 2.0], None]
    assert online["listening__mood"].to_pylist() == [None, "gay", None]


def test_a_view_that_cannot_join_is_named(repo: FeatureRepo, tmp_path: Path) -> None:
    declaration = TEAM.format(folder=str(tmp_path)).replace(", vector_length=2", "")
    (repo.settings.feature_repo / "listening.py").write_text(declaration)
    with pytest.raises(InvalidInput, match=r"listening:taste.*vector_length"):
        repo.apply()


@pytest.fixture
def filled(repo: FeatureRepo) -> tuple[FeatureRepo, EmbeddingVersion]:
    """An applied instance with one version and one stored vector."""
    version = register(repo)
    repo.apply()
    write(repo, version, np.ones((1, 3), np.float32), ["ann"])
    return repo, version


def refused(repo: FeatureRepo, version: EmbeddingVersion, error: str) -> None:
    """Neither our apply nor Feast's goes through, and the vectors stay."""
    with pytest.raises(RegistryUnusable, match=re.escape(error)):
        parse_definitions(repo.settings)
    with pytest.raises(RegistryUnusable, match=re.escape(error)):
        repo.apply()
    if not repo.settings.online_store_url:  # the command line takes seconds to start: once is enough
        result = feast(repo.settings, "apply")
        assert result.returncode != 0, result.stdout
        assert error in result.stderr, result.stderr
    assert repo.count_vectors(version) == 1
    applied = repo.feast.registry.list_feature_views("portrait")
    assert "user_embedding__autoencoder_1" in {view.name for view in applied}


def test_nothing_is_dropped_when_the_registry_is_empty(filled: tuple[FeatureRepo, EmbeddingVersion]) -> None:
    repo, version = filled
    with repo.registry.database.transaction() as session:
        session.execute(text("DROP TABLE alembic_version"))
    refused(repo, version, "is empty: run `portrait apply` first")


def test_nothing_is_dropped_when_the_registry_is_behind(filled: tuple[FeatureRepo, EmbeddingVersion]) -> None:
    repo, version = filled
    with repo.registry.database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    refused(repo, version, "is at revision 0000")


def test_nothing_is_dropped_when_the_registry_is_missing(filled: tuple[FeatureRepo, EmbeddingVersion]) -> None:
    repo, version = filled
    if not repo.registry.database.is_sqlite:
        pytest.skip("a missing Postgres database is one that does not answer")
    (repo.settings.home / "registry.db").rename(repo.settings.home / "away.db")
    refused(repo, version, "there is no registry")


def test_nothing_is_dropped_when_the_registry_is_anothers(filled: tuple[FeatureRepo, EmbeddingVersion]) -> None:
    repo, version = filled
    with repo.registry.database.transaction() as session:
        session.execute(text("UPDATE instance SET id = 'another'"))
    refused(repo, version, "not to another")


def test_nothing_is_dropped_when_the_registry_has_lost_a_version(filled: tuple[FeatureRepo, EmbeddingVersion]) -> None:
    repo, version = filled
    with repo.registry.database.transaction() as session:
        session.execute(text("DELETE FROM embedding_versions"))
    refused(repo, version, "older copy of the registry")


def test_a_retiring_versions_view_leaves(filled: tuple[FeatureRepo, EmbeddingVersion]) -> None:
    repo, version = filled
    retire(repo.registry, version)
    assert "deleted feature view user_embedding__autoencoder_1" in repo.apply()
    assert repo.apply() == []


def test_feast_says_what_is_missing_without_the_environment(repo: FeatureRepo) -> None:
    if repo.settings.online_store_url:
        pytest.skip("the environment is as bare for servers")
    repo.apply()
    program = Path(sys.executable).with_name("feast")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PORTRAIT_")}
    result = subprocess.run(
        [program, "plan"], cwd=repo.settings.feature_repo, env=bare, capture_output=True, text=True, timeout=120
    )
    assert result.returncode != 0
    assert "PORTRAIT_FEAST" in result.stderr


def test_the_empty_source_files_hold_no_rows(repo: FeatureRepo) -> None:
    register(repo)
    repo.apply()
    for file in repo.settings.home.rglob("no-rows.parquet"):
        assert pq.read_metadata(file).num_rows == 0
    repo.feast.materialize(datetime(2020, 1, 1, tzinfo=UTC), NOW)
