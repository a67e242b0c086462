"""Settings of the gates: values from texts and from JSON, and what is stored of them."""

from typing import Any

import pytest

from portrait.registry.errors import InvalidInput
from portrait.registry.records.gate_settings import GateSettingChanges, GateSettings, unknown_settings


@pytest.mark.parametrize(
    "changes",
    [
        ["min_coverage=0.9", "task=churn", " metric = lift", "higher_is_better=false", "tolerance=1"],
        {"min_coverage": 0.9, "task": "churn", "metric": "lift", "higher_is_better": False, "tolerance": 1},
    ],
)
def test_texts_and_json_say_the_same(changes: GateSettingChanges) -> None:
    settings = GateSettings().overridden(changes)
    assert settings == GateSettings(
        min_coverage=0.9, task="churn", metric="lift", higher_is_better=False, tolerance=1.0
    )
    assert isinstance(settings.tolerance, float)
    assert GateSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("changes", [["tolerance="], {"tolerance": None}, {"tolerance": ""}, {"tolerance": 0.0}])
def test_a_setting_goes_back_to_its_default_and_the_others_stay(changes: GateSettingChanges) -> None:
    settings = GateSettings(tolerance=0.1, task="churn")
    assert settings.overridden(changes) == GateSettings(task="churn")
    assert settings.overridden([]) == settings.overridden({}) == settings


def test_only_what_differs_from_the_defaults_is_stored() -> None:
    assert GateSettings().to_json() == {}
    assert GateSettings(max_prior_share=0.2).to_json() == {"max_prior_share": 0.2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["coverage=0.9"], "no gate setting 'coverage'; there are: min_coverage, max_watermark_lag"),
        ({"coverage": None}, "no gate setting 'coverage'"),
        (["min_coverage"], "gate setting 'min_coverage': write name=value"),
        ("min_coverage=0.9", "gate setting 'm': write name=value"),
        (["min_coverage=most"], "gate setting min_coverage='most' is no float"),
        ({"min_coverage": True}, "gate setting min_coverage=True is no float"),
        ({"min_coverage": [0.9]}, r"gate setting min_coverage=\[0.9\] is no float"),
        ({"tolerance": 10**400}, "gate setting tolerance=10+ is no float"),
        ({"higher_is_better": 1}, "gate setting higher_is_better=1 is no bool"),
        ({"task": 7}, "gate setting task=7 is no str"),
        ({"task": "a\x00b"}, "gate setting task .* cannot be printed"),
        ({"task": "t" * 129}, "gate setting task has 129 characters"),
        ({"metric": " "}, "gate setting metric is empty"),
        (["min_coverage=1.1"], r"min_coverage=1.1 is a share"),
        (["max_collapsed=nan"], "max_collapsed=nan is a share"),
        (["max_prior_share=-0.1"], "max_prior_share=-0.1 is a share"),
        (["max_watermark_lag=-1"], "max_watermark_lag=-1.0: give a number that is not negative"),
        (["evidence_seconds=inf"], "evidence_seconds=inf"),
        (["tolerance=nan"], "tolerance=nan"),
    ],
)
def test_what_cannot_be_a_setting_is_refused_with_its_value(changes: GateSettingChanges, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        GateSettings().overridden(changes)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ({"min_freshness": 3, "tolerance": 0.1}, GateSettings(tolerance=0.1)),
        ({"min_coverage": 7, "tolerance": 0.1}, GateSettings(tolerance=0.1)),
        ({"tolerance": "a little", "task": "churn"}, GateSettings(task="churn")),
        ({"tolerance": "0.1", "min_coverage": 1}, GateSettings(tolerance=0.1, min_coverage=1.0)),
    ],
)
def test_what_other_code_has_stored_can_be_read(stored: dict[str, Any], read: GateSettings) -> None:
    assert GateSettings.from_json(stored) == read


def test_what_this_code_does_not_know_is_told_apart() -> None:
    assert unknown_settings({"min_freshness": 3, "tolerance": 0.1}) == {"min_freshness": 3}
