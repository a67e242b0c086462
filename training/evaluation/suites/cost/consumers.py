"""The five consumers of each data set: a task, and the features that its team would make by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from portrait.registry.errors import InvalidInput
from portrait.training.evaluation.suites.cost.blocks import Habits, HandMadeBlock, Hours, Shares, TopItems, Windows
from portrait.training.evaluation.tasks.kinds import Cuts, NextItemTask, Task
from portrait.training.evaluation.tasks.task_files import load_task


@dataclass(frozen=True)
class CostConsumer:
    """A downstream model: its task and its own features."""

    name: str  # of its view and its service
    task: Task
    blocks: tuple[HandMadeBlock, ...]


DATA_SETS: Mapping[str, Mapping[str, tuple[str, tuple[HandMadeBlock, ...]]]] = {
    "generated": {
        "retention": ("generated_churn", (Windows(), Shares(30), Habits())),
        "shop_retention": ("generated_shop_return", (Windows("shop"), Shares(90), Habits())),
        "localisation": ("generated_country", (TopItems(40), Shares())),
        "recommendations": ("generated_plays", (TopItems(30), Shares(90))),
        "discovery": ("generated_next", (TopItems(40, days=90), Shares(30))),
    },
    "online_retail": {
        "retention": ("online_retail_churn", (Windows(), Habits())),
        "reminders": ("online_retail_return", (Windows(), Shares(90))),
        "key_accounts": ("online_retail_spend", (Windows(), Habits(), Hours())),
        "recommendations": ("online_retail_buys", (TopItems(40),)),
        "discovery": ("online_retail_next", (TopItems(30, days=90), Habits())),
    },
}
"""By data set and consumer: the built-in task, and the blocks; 10 to 60 numbers a consumer."""


def consumers_for(data_from: datetime | None, data_to: datetime) -> list[CostConsumer]:
    """The five consumers of the data set with these times; raises InvalidInput when no known one has them."""
    for data_set in DATA_SETS.values():
        found = [CostConsumer(name, load_task(task), blocks) for name, (task, blocks) in data_set.items()]
        cuts = [moment for one in found for moment in _cuts(one.task)]
        if data_from is not None and data_from < min(cuts) and max(cuts) < data_to:
            return found
    begun = "nothing" if data_from is None else f"{data_from:%Y-%m-%d}"
    raise InvalidInput(
        f"the suite has tasks for {', '.join(DATA_SETS)}, but this log goes from {begun} to "
        f"{data_to:%Y-%m-%d}: run it on a home of `portrait import online-retail` or `portrait demo`"
    )


def _cuts(task: Task) -> list[datetime]:
    if isinstance(task, Cuts):
        return [*task.train_cuts, task.test_cut]
    if isinstance(task, NextItemTask) and task.test_cut is not None:
        return [*task.train_cuts, task.test_cut]
    return []


def answers_begin(consumers: Sequence[CostConsumer]) -> datetime:
    """The time of the first tested answer: a model that consumers share must not have seen anything from then on."""
    return min(
        one.task.test_cut for one in consumers if isinstance(one.task, Cuts | NextItemTask) and one.task.test_cut
    )
