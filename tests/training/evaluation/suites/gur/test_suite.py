"""GUR's tables: what counts as holding, variants by what they leave out, and a run that goes on."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from portrait.registry.records.records import EmbeddingVersion
from portrait.training.evaluation.line_log import Line
from portrait.training.evaluation.suites.gur.claims import CLAIMS, Claim, Table, Variant
from portrait.training.evaluation.suites.gur.report import as_markdown, plain_numbers, write_report
from portrait.training.evaluation.suites.gur.suite import WHOLE, Result, Tables, _apply_variant
from portrait.training.evaluation.tasks.task_files import builtin_names
from tests.training.example import inputs, population

CLAIM = Claim(Table.ESTABLISHED, "which items", ("generated_plays",), "auc_by_user", "pmf", 0.10)


EASE = np.random.default_rng(0).normal(0, 0.05, 1000)  # how easy the users of each resample are, for any method


def line(method: str, value: float, own: float, seed: int) -> Line:
    resamples = value + EASE + np.random.default_rng(seed).normal(0, own, len(EASE))
    low, high = np.percentile(resamples, (2.5, 97.5))
    return Line(method, None, "auc_by_user", value, low, high, 100, 1.0, tuple(resamples))


def result(ours: float, other: float, own: float = 0.001) -> Result:
    return Result(CLAIM, "generated_plays", line(WHOLE, ours, own, 1), line("pmf", other, own, 2))


def test_every_claim_names_tasks_that_there_are() -> None:
    assert {name for claim in CLAIMS for name in claim.tasks} <= set(builtin_names())
    assert all(claim.gain > 0 for claim in CLAIMS)


@pytest.mark.parametrize(
    ("ours", "other", "sign", "size"),
    [
        (0.88, 0.80, "holds", "holds"),  # +10%, as in the paper
        (0.83, 0.80, "holds", "does not hold"),  # +3.75%
        (0.99, 0.80, "holds", "does not hold"),  # +24%
        (0.80, 0.88, "does not hold", "does not hold"),
    ],
)
def test_sign_and_rough_size(ours: float, other: float, sign: str, size: str) -> None:
    found = result(ours, other)
    assert (found.sign, found.gain.size) == (sign, size)
    assert found.gain.value == pytest.approx(ours / other - 1)


def test_methods_are_told_apart_on_the_same_users() -> None:
    found = result(0.83, 0.80)
    assert found.ours.low < found.other.value < found.ours.high  # the users differ more than the methods
    assert 0.03 < found.gain.low < found.gain.high < 0.045 and found.sign == "holds"
    assert result(0.83, 0.80, own=0.02).sign == "not told apart"


def test_a_variant_leaves_out_what_it_says() -> None:
    given = inputs(population())  # whose profile has age and country
    version = _version({"epochs": 3, "item_dimension": 6, "exclude": ["age"], "encoder_revision": 1})
    whole, recipe = _apply_variant(given, version, WHOLE)
    assert whole.exclude == ("age",) and recipe == ["epochs=3", "item_dimension=6"]
    assert _apply_variant(given, version, Variant.NO_ITEMS)[1] == ["epochs=3", "item_dimension=0"]
    assert _apply_variant(given, version, Variant.NO_ONBOARDING)[0].exclude == ("age", "onboarding_items")
    assert _apply_variant(given, version, Variant.NO_STATIC)[0].exclude == ("age", "country")


def _version(config: dict[str, object]) -> EmbeddingVersion:
    from portrait.registry.database.tables import VersionState

    moment = datetime(2024, 1, 1, tzinfo=UTC)
    return EmbeddingVersion(
        id="autoencoder-1", family="autoencoder", number=1, fingerprint="f" * 64, dimension=8,
        state=VersionState.READY, failure=None, run="", artifact="", parent=None, snapshot="", data_from=None,
        data_to=moment, feature_schema={}, config=config, metrics={}, code_revision="", created_at=moment,
        last_as_of=None,
    )  # fmt: skip


def test_the_page_has_gains_beside_the_papers_and_what_is_missing(tmp_path: Path) -> None:
    tables = Tables([result(0.88, 0.80)], {"online_retail_buys": "no such events"})
    page = as_markdown(tables, "autoencoder-1")
    assert re.search(r"\| \+10\.0% \(\+\d+\.\d% \.\. \+\d+\.\d%\) \| \+10\.0% \| holds \| holds \|", page)
    assert "- `online_retail_buys`: no such events" in page
    (numbers,) = plain_numbers(tables)["results"]
    assert numbers["gain"] == pytest.approx(0.1) and numbers["gain_low"] < 0.1 < numbers["gain_high"]
    report = write_report(tables, "autoencoder-1", tmp_path)
    assert report.read_text() == page
    assert (tmp_path / "gains.png").stat().st_size > 5000 and (tmp_path / "numbers.json").exists()
