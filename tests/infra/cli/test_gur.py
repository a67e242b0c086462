"""The suite `gur` on a small real instance: killed, resumed, registered, printed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.infra.jobs.versions import compare_gur
from portrait.infra.portrait import Portrait
from portrait.registry.errors import InvalidInput
from portrait.training.baselines import dlrm, lightfm
from portrait.training.evaluation.line_log import LineLog
from portrait.training.evaluation.suites.gur.claims import CLAIMS, Variant
from portrait.training.evaluation.suites.gur.suite import Tables, run
from tests.infra.commands import Commands
from tests.instances import labelled_copy_of
from tests.killed import Killed, killed_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
RETAIL = "online_retail_buys"


@pytest.fixture(scope="module")
def instance(registered_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portrait]:
    with labelled_copy_of(registered_home, tmp_path_factory.mktemp("gur")) as portrait:
        yield portrait


@pytest.fixture(scope="module")
def measured(instance: Portrait) -> Tables:
    """After a kill amid the baselines of the first task, and another one after two neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        for baseline in (lightfm, dlrm):
            patch.setattr(baseline, "STEPS", 50)
        for step, done in (("measuring generated_plays", 3), ("measuring generated_taste", 2)):
            with pytest.raises(Killed):
                compare_gur(instance, "autoencoder-1", killed_at(step, done))
        before = trained(instance)
        tables, report = compare_gur(instance, "autoencoder-1")
    assert before < trained(instance)  # nothing that was trained is trained again
    assert "![gains](gains.png)" in report.read_text()
    return tables


def trained(instance: Portrait) -> set[str]:
    return {one.name for one in (instance.settings.home / "studies" / "gur" / "artifacts").glob("autoencoder-*")}


def test_every_claim_that_generated_users_can_tell_is_measured(measured: Tables) -> None:
    asked = [(one.than, name) for one in CLAIMS for name in one.tasks if name != RETAIL]
    assert [(one.claim.than, one.task) for one in measured.results] == asked
    assert list(measured.left_out) == [RETAIL]
    for one in measured.results:
        assert 0 < one.ours.value <= 1 and 0 < one.other.value <= 1
        assert one.gain.low <= one.gain.value <= one.gain.high


def test_a_recipe_is_trained_once_for_equal_inputs(measured: Tables, instance: Portrait) -> None:
    notes = (instance.settings.home / "studies" / "gur").glob("*.json")
    names = [note.stem for note in notes if note.stem != "numbers"]
    assert len(names) == len(trained(instance)) == 7  # three snapshots, and four times without a part


def test_what_the_recipe_reached_is_registered_once(measured: Tables, instance: Portrait) -> None:
    compare_gur(instance, "autoencoder-1")
    found = [one for one in instance.registry.versions.evaluations("autoencoder-1") if one.task.startswith("gur/")]
    assert len(found) == len({(one.task, one.metric) for one in found})
    ours = {(f"gur/{one.task}", one.claim.metric): one.ours.value for one in measured.results}
    assert ours == {(one.task, one.metric): one.value for one in found if (one.task, one.metric) in ours}


def test_lines_on_disk_are_whole(measured: Tables, instance: Portrait) -> None:
    (log,) = (instance.settings.home / "studies" / "gur").glob("generated_plays-*.jsonl")
    methods = ["representation", "nmf", "pmf", "vae-cf", "lightfm", "dlrm", "mean-items", "without modality encoders"]
    assert [json.loads(line)[0]["method"] for line in log.read_text().splitlines()] == methods
    assert LineLog(log).lines_of("pmf", None)


def test_the_command_prints_the_page(measured: Tables, instance: Portrait, tmp_path: Path) -> None:
    home = shutil.copytree(instance.settings.home, tmp_path / "home")
    (tmp_path / "printed").mkdir()
    here = Commands(tmp_path / "printed", home)
    done = here("evaluate", "autoencoder-1", "--suite", "gur", PORTRAIT_NUM_WORKERS="0")
    assert done.code == 0, done.err
    assert "Established users" in done.out and "Not measured here" in done.out and "report: " in done.out
    found = here("evaluate", "autoencoder-1", "--suite", "gur", "--json", PORTRAIT_NUM_WORKERS="0").json
    assert len(found["results"]) == len(measured.results) and list(found["left_out"]) == [RETAIL]


def test_a_family_without_a_variant_tells_all_other_claims(registered_clue_home: Path, tmp_path: Path) -> None:
    """CLUE knows items by their texts alone."""
    claims = [one for one in CLAIMS if one.tasks == ("generated_taste",)]
    assert Variant.NO_ITEMS in {one.than for one in claims}
    with labelled_copy_of(registered_clue_home, tmp_path) as portrait:
        version = portrait.registry.versions.get("clue-1")
        tables = run(portrait.repo, version, portrait.settings, tmp_path / "gur", claims=claims)
        assert [one.claim.than for one in tables.results] == ["mean-items"]
        assert list(tables.left_out) == [Variant.NO_ITEMS] and "clue knows items" in tables.left_out[Variant.NO_ITEMS]
        alone = [one for one in claims if one.than == Variant.NO_ITEMS]
        with pytest.raises(InvalidInput, match="without modality encoders: clue knows items"):
            run(portrait.repo, version, portrait.settings, tmp_path / "nothing", claims=alone)
