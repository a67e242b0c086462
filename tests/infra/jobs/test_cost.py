"""The suite `cost` on a small real instance: measured, killed, resumed, printed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.infra.jobs.cost import compare_cost, parse_dimensions
from portrait.infra.portrait import Portrait
from portrait.registry.errors import InvalidInput
from portrait.training.evaluation.suites.cost.numbers import Cost
from tests.infra.commands import Commands
from tests.instances import TINY, copy_of
from tests.killed import Killed, killed_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
CONSUMERS = ["retention", "shop_retention", "localisation", "recommendations", "discovery"]
FREE = {"PORTRAIT_NUM_WORKERS": "0"}


@pytest.fixture(scope="module")
def instance(registered_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portrait]:
    with copy_of(registered_home, tmp_path_factory.mktemp("cost") / "home") as portrait:
        yield portrait


@pytest.fixture(scope="module")
def measured(instance: Portrait) -> Cost:
    """After a kill in the middle of the tasks, and another one in the middle of the stores."""
    lines = instance.settings.home / "studies" / "cost" / "lines.jsonl"
    for step, done, kept in (("measuring tasks", 4, 2 + 4), ("filling online stores", 2, 2 + 15)):
        with pytest.raises(Killed):
            compare_cost(instance, None, "16,8", TINY, killed_at(step, done), requests=5)
        assert len(lines.read_text().splitlines()) == kept
    cost, report = compare_cost(instance, None, "16,8", TINY, requests=5)
    assert len(lines.read_text().splitlines()) == 2 + 15 + 2
    assert report.exists()
    return cost


def test_features_are_counted_and_bytes_are_the_stores(measured: Cost) -> None:
    assert [one.name for one in measured.curated] == CONSUMERS
    assert measured.store == "SQLite" and measured.users == 300
    for one in measured.curated:
        assert 10 <= one.numbers <= 60
        assert one.bytes_per_user > 50 * one.numbers  # a row with its key for each feature
    assert measured.vector.numbers == 16
    assert 4 * 16 < measured.vector.bytes_per_user < min(one.bytes_per_user for one in measured.curated)
    assert measured.inputs.bytes > 0
    assert all(one.compute_seconds > 0 and one.write_seconds > 0 for one in (*measured.curated, measured.vector))


def test_every_consumer_has_both_sides(measured: Cost) -> None:
    assert {(one.consumer, one.method) for one in measured.scores} == {
        (name, method) for name in CONSUMERS for method in ("curated", "autoencoder, 16", "autoencoder, 8")
    }
    for name in CONSUMERS:
        own, vector = measured.score(name, "curated"), measured.score(name, "autoencoder, 16")
        assert (own.metric, own.rows) == (vector.metric, vector.rows)  # the same test users
        for one in (own, vector):
            assert one.low <= one.value <= one.high and one.features_seconds > 0 and one.head_seconds > 0
    for reads in measured.reads:
        assert (reads.curated_lookups, reads.shared_lookups) == (1, 1)
        assert reads.curated_bytes > 10 * 10 and reads.shared_bytes > 16 * 4 and reads.reader_bytes > 16 * 4
        assert reads.curated.requests == reads.shared.requests == reads.reader.requests == 5


def test_the_users_own_instance_is_not_touched(instance: Portrait, measured: Cost) -> None:
    assert [version.id for version in instance.registry.versions.list()] == ["autoencoder-1"]
    views = {view.name for view in instance.repo.feast.list_feature_views()}
    assert not views & set(CONSUMERS)
    folder = instance.settings.home / "studies" / "cost"
    left = {path.name for path in folder.iterdir()}
    assert left == {"lines.jsonl", "models", "report.md", "cost.png", "numbers.json"}  # and nobody's features
    assert not list((instance.settings.home / "artifacts").glob(".unfinished/*"))


def test_the_page_and_the_numbers(instance: Portrait, measured: Cost) -> None:
    folder = instance.settings.home / "studies" / "cost"
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["paper"] == -0.5 and numbers["users"] == 300
    [online] = [one for one in numbers["changes"] if one["what"] == "online store"]
    held = sum(one["bytes"] / one["users"] for one in numbers["curated"])
    assert online["curated"] == pytest.approx(held) and online["relative"] < -0.5 and online["verdict"] == "holds"
    page = (folder / "report.md").read_text()
    assert "GUR reports -50%" in page and "![What each side costs, and what it reaches](cost.png)" in page
    assert all(f"| {name} |" in page for name in CONSUMERS) and "| autoencoder, 16 |" in page
    assert (folder / "cost.png").stat().st_size > 10_000


def test_a_smaller_vector_holds_less(measured: Cost) -> None:
    assert measured.shared == "autoencoder, 16"  # the nearest to 120
    assert [one.name for one in measured.vectors] == ["autoencoder, 16", "autoencoder, 8"]
    assert [one.numbers for one in measured.vectors] == [16, 8]
    assert measured.held("autoencoder, 8").bytes < measured.vector.bytes


def test_asked_again_nothing_is_measured(instance: Portrait, measured: Cost) -> None:
    lines = instance.settings.home / "studies" / "cost" / "lines.jsonl"
    before = lines.read_text()
    again, _ = compare_cost(instance, None, "16,8", TINY, requests=5)
    assert again == measured and lines.read_text() == before
    fewer, _ = compare_cost(instance, None, "16", TINY, requests=5)
    assert fewer.changes == measured.changes and lines.read_text() == before


def test_a_version_that_has_seen_the_answers_is_refused(instance: Portrait) -> None:
    with pytest.raises(InvalidInput, match="autoencoder-1 was trained "):
        compare_cost(instance, "autoencoder-1", "", requests=5)


def test_dimensions_are_whole_numbers() -> None:
    assert parse_dimensions("32, 64,32") == (32, 64)
    with pytest.raises(InvalidInput, match="--dimensions 32,x"):
        parse_dimensions("32,x")


def test_as_a_command(instance: Portrait, measured: Cost, tmp_path: Path) -> None:
    (tmp_path / "printed").mkdir()
    shutil.copytree(instance.settings.home, tmp_path / "home")
    portrait = Commands(tmp_path / "printed", tmp_path / "home")
    quick = [word for text in TINY for word in ("--set", text)]
    done = portrait("evaluate", "--suite", "cost", "--dimensions", "16,8", *quick, "--json", **FREE)
    assert done.code == 0, done.err
    assert done.json["shared"] == "autoencoder, 16" and len(done.json["reads"]) == 5
    told = portrait("evaluate", "--suite", "cost", "--dimensions", "16,8", *quick, **FREE)
    assert "GUR reports -50%" in told.out and "report: " in told.out and "online store (bytes a user)" in told.out
    timed = portrait("evaluate", "--suite", "cost", "--as-of", "2024-06-01", **FREE)
    assert timed.code == 2 and "does not read --as-of: leave it out, it is for --suite clue" in timed.error
    wrong = portrait("evaluate", "--suite", "cost", "--dimensions", "few", **FREE)
    assert wrong.code == 2 and "--dimensions few: write whole numbers" in wrong.err
