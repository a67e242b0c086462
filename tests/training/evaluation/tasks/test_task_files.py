"""Task files: what comes with Portrait can be read, and what is wrong is said with file, key and value."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from portrait.registry.errors import InvalidInput, NotFound
from portrait.training.evaluation.tasks.kinds import KINDS, ChurnTask, LabelTask
from portrait.training.evaluation.tasks.task_files import builtin_names, load_task

CHURN = """
kind = "churn"
active_days = 180
horizon_days = 90
train_cuts = [2011-06-10]
test_cut = 2011-09-08
"""


def test_all_kinds_come_with_portrait() -> None:
    tasks = [load_task(name) for name in builtin_names()]
    assert {task.kind for task in tasks} == set(KINDS)
    assert all(task.description and hash(task) for task in tasks)
    assert [task.name for task in tasks] == builtin_names()


def test_churn_of_the_retail_set_is_as_its_readme_says() -> None:
    task = load_task("online_retail_churn")
    assert isinstance(task, ChurnTask)
    assert (task.active_days, task.horizon_days, task.actions, task.weight_above) == (180, 90, ("purchase",), 0.0)
    assert task.train_cuts == (datetime(2011, 6, 10, tzinfo=UTC),)
    assert task.test_cut == datetime(2011, 9, 8, tzinfo=UTC)


def test_a_labels_path_lies_beside_the_task(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('kind = "label"\nlabels = "mine.csv"\ncolumn = "segment"\n')
    task = load_task(str(tmp_path / "mine.toml"))
    assert isinstance(task, LabelTask)
    assert (task.name, task.labels, task.field, task.folds) == ("mine", str(tmp_path / "mine.csv"), "segment", 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "chrn"', "kind = 'chrn' must be one of label, churn, interact, next_item"),
        ("active_days = 3", "kind = None must be one of"),
        (CHURN + "active = 3", "active = 3 is no key of kind churn: .*active_days"),
        (CHURN.replace("180", "-1"), "active_days = -1: input should be greater than 0"),
        (CHURN.replace("180", '"180"'), "active_days = '180': input should be a valid integer"),
        (CHURN.replace("horizon_days = 90", ""), "horizon_days is missing"),
        (CHURN.replace("2011-06-10", "2011-09-01"), "train_cuts has 2011-09-01, whose 90 days of answers end after"),
        (CHURN.replace("2011-06-10", '"June"'), "train_cuts.0 = 'June': write a date or time, such as 2011-06-10"),
        (CHURN.replace("[2011-06-10]", "[]"), r"train_cuts = \[\]: tuple should have at least 1 item"),
        ('kind = "label"\nlabels = "a"', "give labels and column, or profile"),
        ('kind = "label"\nprofile = "a"\nsplit = "half"', "split = 'half': input should be 'folds' or 'users'"),
        ('kind = "next_item"\nsplit = "time"', 'split = "time" needs train_cuts and test_cut'),
        (CHURN + "seed = -1", "seed = -1: input should be greater than or equal to 0"),
        (CHURN.replace("180", "1000000"), "active_days = 1000000: input should be less than or equal to 36525"),
        (
            'kind = "first_hours"\ncut = 2024-01-01\nhours = inf',
            "hours = inf: input should be less than or equal to 8784",
        ),
        ("kind = ", "is no TOML file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=f"^{path}.*{said}"):
        load_task(str(path))


def test_an_unknown_name_is_met_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no task 'sex': give a TOML file, or one of .*lastfm_sex"):
        load_task("sex")
    with pytest.raises(InvalidInput, match=r"there is no task file .*none\.toml"):
        load_task(str(tmp_path / "none.toml"))
