"""Versions, consumers and their promotions by the command line, as a team would go through them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.infra.jobs.versions import train_version
from portrait.infra.portrait import Portrait
from portrait.training.backfill.backfill import backfill
from tests.infra.commands import Commands
from tests.instances import TINY, TINY_CLUE, copy_of, embedded

GATES = [
    "version-is-ready",
    "artifact-loads",
    "fingerprint-intact",
    "coverage-is-complete",
    "watermark-lag",
    "refresh-lag",
    "head-is-ready",
    "metric-not-worse",
    "vectors-are-healthy",
]


@pytest.fixture(scope="module")
def two_versions(backfilled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two embedded autoencoders and one, autoencoder-3, without vectors; and clue-1, embedded. Copy it."""
    home = tmp_path_factory.mktemp("two") / "home"
    with copy_of(backfilled_home, home) as portrait:
        for seed in (1, 2):
            train_version(portrait, "autoencoder", overrides=[*TINY, f"seed={seed}"])
        backfill(portrait.repo, "autoencoder-2", portrait.settings)
        train_version(portrait, "clue", overrides=TINY_CLUE)
        backfill(portrait.repo, "clue-1", portrait.settings)
    return home


@pytest.fixture
def run(two_versions: Path, tmp_path: Path) -> Iterator[Commands]:
    """Commands in a home of its own, whose consumer `ranker` reads autoencoder-1."""
    home = tmp_path / "home"
    with copy_of(two_versions, home) as portrait:
        portrait.operations.promote("ann", "ranker", "autoencoder-1", "first")
    yield Commands(tmp_path, home)


def lanes(run: Commands) -> dict[str, str]:
    """Lane by user, of fifty users."""
    users = [f"u{number:06d}" for number in range(50)]
    rows = run("get", "ranker", *users, "--json").json["embeddings"]
    assert [row["user_id"] for row in rows] == users
    assert len({(row["lane"], row["version"]) for row in rows}) == len({row["lane"] for row in rows})
    return {row["user_id"]: row["lane"] for row in rows}


def test_a_dry_run_shows_every_gate_and_changes_nothing(run: Commands) -> None:
    before = run("consumers", "--json").json
    good = run("promote", "ranker", "autoencoder-2", "--dry-run", "--json")
    assert good.code == 0 and good.json["passes"] is True
    assert [verdict["gate"] for verdict in good.json["gates"]] == GATES
    assert {verdict["outcome"] for verdict in good.json["gates"]} == {"accept"}

    early = run("promote", "ranker", "autoencoder-3", "--dry-run")
    assert early.code == 1 and "the promotion would be refused" in early.out
    assert [gate for gate in GATES if gate not in early.out] == []
    assert "run `portrait backfill autoencoder-3`" in early.out
    assert run("consumers", "--json").json == before


def test_a_canary_from_its_beginning_to_its_end(run: Commands) -> None:
    begun = run("promote", "ranker", "autoencoder-2", "--canary", 0.2, "--reason", "retrained")
    assert begun.code == 0 and "ranker: autoencoder-1, canary autoencoder-2 for 0.2 of the users" in begun.out
    few = lanes(run)
    assert 2 <= sum(lane == "canary" for lane in few.values()) <= 20
    assert run("promote", "ranker", "autoencoder-2", "--canary", 0.6).code == 0
    more = lanes(run)
    assert {user for user, lane in few.items() if lane == "canary"} < {
        user for user, lane in more.items() if lane == "canary"
    }
    assert "canary autoencoder-2 for 0.6" in run("consumers").out

    assert "ranker: autoencoder-1 -> autoencoder-2 (revision 4)" in run("canary", "finish", "ranker").out
    assert set(lanes(run).values()) == {"stable"}
    assert run("promote", "ranker", "autoencoder-1", "--canary", 0.5, "--json").json["canary"] == "autoencoder-1"
    assert run("canary", "abort", "ranker", "--json").json["to_version"] == "autoencoder-2"
    kinds = [row["kind"] for row in run("history", "ranker", "--json").json]
    assert kinds == ["promote", "canary", "canary", "finish", "canary", "abort"]


def test_another_family_is_promoted_rolled_back_and_retired_like_any_version(run: Commands) -> None:
    def read() -> tuple[str, list[list[float]]]:
        rows = run("get", "ranker", "u000000", "u000001", "--json").json["embeddings"]
        [(version, source)] = {(row["version"], row["source"]) for row in rows}
        assert source == "stored"
        return version, [row["vector"] for row in rows]

    before = read()
    good = run("promote", "ranker", "clue-1", "--dry-run", "--json")
    assert [(verdict["gate"], verdict["outcome"]) for verdict in good.json["gates"]] == [(g, "accept") for g in GATES]
    assert run("promote", "ranker", "clue-1").code == 0
    version, vectors = read()
    assert version == "clue-1" and vectors != before[1]
    compared = run("diff", "autoencoder-1", "clue-1", "--json").json
    assert compared["users_compared"] > 200 and abs(compared["cosine_raw"]) < 0.5
    assert run("rollback", "ranker", "--json").json["to_version"] == "autoencoder-1"
    assert read() == before
    assert run("retire", "clue-1", "--json").json["state"] == "retired"
    assert not (run.home / "embeddings" / "clue-1").exists()


def test_which_version_was_in_production_then(run: Commands) -> None:
    assert run("promote", "ranker", "autoencoder-2").code == 0
    first, second = run("history", "ranker", "--json").json
    told = run("history", "ranker", "--at", first["promoted_at"])
    assert "ranker read autoencoder-1 (since " in told.out and "by ann)" in told.out
    assert "ranker read autoencoder-2" in run("history", "ranker", "--at", second["promoted_at"]).out
    assert "ranker read nothing yet" in run("history", "ranker", "--at", "2011-01-01").out


def test_a_broken_newest_version_does_not_stop_a_rollback(run: Commands) -> None:
    assert run("promote", "ranker", "autoencoder-2").code == 0
    artifact = run.home / broken_artifact(run, "autoencoder-2")
    back = run("rollback", "ranker", "--reason", "no answers", "--json")
    assert back.code == 0 and back.json["to_version"] == "autoencoder-1"
    assert [verdict["gate"] for verdict in back.json["gates"]][1] == "artifact-loads"

    refused = run("promote", "ranker", "autoencoder-2", "--force", "--reason", "I insist")
    assert refused.code == 1 and refused.out == ""
    assert "artifact-loads" in refused.err and "no force passes over that" in refused.err
    shutil.rmtree(artifact)
    missing = run("promote", "ranker", "autoencoder-2", "--force", "--reason", "I insist")
    assert missing.code == 1 and "no force passes over that" in missing.err
    [stays] = [one for one in run("consumers", "--json").json if one["name"] == "ranker"]
    assert stays["assignment"]["stable"] == "autoencoder-1"


def broken_artifact(run: Commands, version: str) -> str:
    """Flip a byte of the version's weights: (where its artifact lies in the home)."""
    artifact: str = run("versions", version, "--json").json["artifact"]
    weights = run.home / artifact / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return artifact


def test_limits_of_a_consumers_own_and_force(run: Commands) -> None:
    assert run("consumer", "set", "ranker", "--gate", "task=clicks", "--wants-head").code == 0
    shown = run("consumer", "show", "ranker").out
    assert "clicks" in shown and "(default)" in shown and "wants a head" in shown
    refused = run("promote", "ranker", "autoencoder-2")
    assert refused.code == 1 and "head-is-ready" in refused.err and "portrait head register" in refused.err
    assert run("promote", "ranker", "autoencoder-2", "--force").code == 2  # wants a reason
    forced = run("promote", "ranker", "autoencoder-2", "--force", "--reason", "the head comes tonight")
    assert forced.code == 0 and "forced over: " in forced.out
    assert run("history", "ranker", "--json").json[-1]["forced"] is True


def test_how_old_a_consumers_vectors_may_be(run: Commands) -> None:
    assert run("consumer", "set", "ranker", "--max-age", "3600").code == 0
    assert "3,600 s" in run("consumer", "show", "ranker").out
    assert run("consumer", "show", "ranker", "--json").json["max_age_seconds"] == 3600.0
    assert run("consumer", "set", "ranker", "--owner", "web").code == 0
    assert run("consumers", "--json").json[0]["max_age_seconds"] == 3600.0
    assert run("consumer", "set", "ranker", "--max-age", "0").code == 0
    assert "of any age" in run("consumer", "show", "ranker").out
    assert run("consumer", "add", "other", "--max-age", "60").code == 0
    assert run("consumer", "show", "other", "--json").json["max_age_seconds"] == 60.0
    assert run("consumer", "set", "ranker", "--max-age", "-1").code == 2


def test_the_metric_of_the_consumers_task_decides(run: Commands) -> None:
    assert run("consumer", "set", "ranker", "--gate", "task=clicks", "--gate", "tolerance=0.01").code == 0
    prints = {one["id"]: one["fingerprint"] for one in run("versions", "--json").json}

    def measured(version: str, auc: float) -> None:
        common = ["--task", "clicks", "--data-stamp", "w46", "--as-of", "2024-06-01", "--location", "s3://heads/1"]
        head = ["--fingerprint", prints[version], "--metric", f"auc={auc}"]
        assert run("head", "register", "ranker", version, *common, *head).code == 0

    measured("autoencoder-1", 0.75)
    measured("autoencoder-2", 0.70)
    refused = run("promote", "ranker", "autoencoder-2")
    assert refused.code == 1 and "metric-not-worse" in refused.err and "0.7 on autoencoder-2" in refused.err
    measured("autoencoder-2", 0.745)
    assert run("promote", "ranker", "autoencoder-2").code == 0
    assert "auc 0.745" in run("head", "list", "ranker").out

    foreign = ["--fingerprint", prints["autoencoder-1"], "--metric", "auc=1", "--task", "clicks"]
    mixed = run(
        *("head", "register", "ranker", "autoencoder-2", *foreign),
        *("--data-stamp", "w46", "--as-of", "2024-06-01", "--location", "here"),
    )
    assert mixed.code == 1
    assert prints["autoencoder-1"] in mixed.error and prints["autoencoder-2"] in mixed.error


def test_the_end_of_a_version(run: Commands) -> None:
    assert run("promote", "ranker", "autoencoder-2").code == 0
    for version, why in (("autoencoder-2", "reads it as its stable"), ("autoencoder-1", "may roll back to it until")):
        pinned = run("retire", version)
        assert pinned.code == 1 and why in pinned.error
    kept = {one["version"]: one["kept_by"] for one in run("status", "--json").json["versions"]}
    assert kept["autoencoder-2"] == ["ranker reads it"] and kept["autoencoder-3"] == []
    assert kept["autoencoder-1"][0].startswith("ranker may go back to it until ")

    assert run("fail", "autoencoder-3", "--reason", "wrong data").code == 0
    assert "failed: wrong data" in run("versions", "autoencoder-3").out
    retired = run("retire", "autoencoder-3", "--reason", "never used", "--json")
    assert retired.code == 0 and retired.json["state"] == "retired"
    assert not (run.home / "embeddings" / "autoencoder-3").exists()
    left = {one["version"] for one in run("status", "--json").json["versions"]}
    assert left == {"autoencoder-1", "autoencoder-2", "clue-1"}
    assert run("retire", "autoencoder-3").code == 1
    with Portrait(embedded(run.home)) as portrait:
        names = {view.name for view in portrait.repo.feast.list_feature_views()}
    assert "user_embedding__autoencoder_3" not in names and "user_embedding__autoencoder_1" in names


def test_two_versions_beside_each_other(run: Commands) -> None:
    report = run("diff", "autoencoder-1", "autoencoder-2", "--json")
    assert report.code == 0 and report.json["users_compared"] > 0
    shown = run("diff", "autoencoder-1", "autoencoder-2")
    assert shown.code == 0
    assert [word for word in ("coverage", "overlap", "cosine", "norm") if word not in shown.out] == []


def test_keys_are_shown_once_and_everything_is_audited(run: Commands) -> None:
    made = run("keys", "add", "web", "--read", "ranker", "--json").json
    assert made["key"].startswith(f"portrait_{made['id']}_") and made["grants"] == ["embeddings:read=ranker"]
    listed = run("keys", "list", "--json")
    assert made["key"] not in listed.out and [one["id"] for one in listed.json] == [made["id"]]
    assert run("keys", "revoke", made["id"]).code == 0
    assert run("keys", "add", "nobody").code == 2
    assert run("promote", "ranker", "autoencoder-3").code == 1

    lines = [json.loads(line) for line in run("audit", "--json").out.splitlines()]
    seen = [(line["actor"], line["action"], line["outcome"]) for line in lines]
    assert seen[-4:] == [
        ("ann", "key.add", "done"),
        ("ann", "key.revoke", "done"),
        ("ann", "key.add", "refused"),
        ("ann", "promotion.promote", "refused"),
    ]
    assert made["key"] not in run("audit", "--json").out
    assert "promotion.promote" in run("audit", "--last", "3").out
    assert len(run("audit", "--last", "1", "--json").out.splitlines()) == 1


def test_the_lineage_of_a_version(run: Commands) -> None:
    version = run("versions", "autoencoder-2", "--json").json
    assert version["parent"] == "autoencoder-1" and version["snapshot"] and version["code_revision"]
    assert version["data_from"] < version["data_to"] and version["feature_schema"]["history_length"] == 256
    encoders = version["config"]["modality_encoders"]
    dimensions = {name: encoder["dimension"] for name, encoder in encoders.items()}
    assert dimensions == {"collaborative": 8, "latent": 8, "text": 8}
    shown = run("versions", "autoencoder-2").out
    assert [
        word for word in ("parent", "snapshot", "modality_encoders", version["fingerprint"]) if word not in shown
    ] == []
