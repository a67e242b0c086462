"""Tasks whose answer is an item: the next one, those within a horizon, and those that new users begin with."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from portrait.feature_repo.schemas import from_microseconds, microseconds
from portrait.registry.errors import InvalidInput
from portrait.training.baselines.bags import Bags
from portrait.training.encoding.arrays import UNKNOWN, Bool, Int64
from portrait.training.encoding.encoding_times import times
from portrait.training.encoding.vocabulary import Vocabulary, item_keys
from portrait.training.evaluation.event_choice import owners, with_events, without_picks
from portrait.training.evaluation.tasks.kinds import Counted, FirstHoursTask, InteractTask, NextItemTask
from portrait.training.evaluation.tasks.task_data import Rows, TaskData, places_of
from portrait.training.runs.training_inputs import TrainingInputs

FEWEST = 20  # users of each part


@dataclass(frozen=True)
class Asked:
    """Users at times, and the items that they had next: m answers, user after user.

    UNKNOWN is an item that no training user had: nobody could rank it, and to the test it is a miss.
    """

    rows: Rows
    owner: Int64  # [m] row of each answer
    item: Int64  # [m] its column among the task's items, or UNKNOWN

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class Drawn:
    """The draw of items that were not had, for AUC."""

    negatives: int  # for each answer
    by_popularity: bool


@dataclass(frozen=True)
class RankingTask:
    """A built task over `items`, those that a training user had."""

    inputs: TrainingInputs
    items: Vocabulary  # keys
    popularity: Int64  # [items] training users who had each
    train: Asked
    test: Asked
    had: sparse.csr_array  # [test rows, items] 1 for items that are not ranked
    k: int
    drawn: Drawn | None
    as_of: datetime
    known_before: datetime | None
    choose: Asked | None = None  # answers that heads choose their epoch by; None: of one training user in ten


def interact_task(task: InteractTask, data: TaskData) -> RankingTask:
    """Users who were active before a cut and had something within the horizon; raises InvalidInput for too few."""
    data.require_until(task.test_cut + timedelta(days=task.horizon_days), task.name)
    inputs, bags = _inputs_and_items(task, data, max(task.train_cuts))
    asked = [_after(task, data, bags, cut, task.new_only, first=False) for cut in (*task.train_cuts, task.test_cut)]
    built = _build(task.name, inputs, bags, _join(asked[:-1]), asked[-1], task.new_only, task.k, task.test_cut)
    return replace(built, drawn=Drawn(task.negatives, task.drawn == "popularity"))


def next_item_task(task: NextItemTask, data: TaskData) -> RankingTask:
    """One answer a user, by leaving one out or by time; raises InvalidInput for too few users."""
    if task.test_cut is None:
        return _leave_one_out(task, data)
    data.require_until(task.test_cut + timedelta(days=task.horizon_days), task.name)
    inputs, bags = _inputs_and_items(task, data, max(task.train_cuts))
    asked = [_after(task, data, bags, cut, task.new_only, first=True) for cut in (*task.train_cuts, task.test_cut)]
    return _build(task.name, inputs, bags, _join(asked[:-1]), asked[-1], task.new_only, task.k, task.test_cut)


def first_hours_task(task: FirstHoursTask, data: TaskData) -> RankingTask:
    """New users as of their sign-up; those who signed up before the cut train. Raises InvalidInput for too few."""
    inputs, bags = _inputs_and_items(task, data, task.cut)
    everybody = data.rows().users
    created = times(everybody["created_time"].combine_chunks())
    horizon = round(task.hours * 3_600_000_000)
    came = (created > 0) & (created + horizon < microseconds(data.newest.as_of))
    parts = []
    for chosen in (came & (created + horizon <= microseconds(task.cut)), came & (created >= microseconds(task.cut))):
        chosen_ids = everybody["user_id"].combine_chunks().filter(pa.array(chosen))
        rows = data.rows_at(chosen_ids, created[chosen] + 1, signing_up=True)  # a profile counts from just after it on
        # What is bought at the very moment of sign-up is an answer, not something that was known.
        moments = np.asarray(rows.users["event_times"].combine_chunks().flatten())
        seen = with_events(rows.users, moments < (rows.as_of - 1)[owners(rows.users)])
        rows = replace(rows, users=seen if task.onboarding else without_picks(seen))
        parts.append(_answers(task, data, bags, rows, rows.as_of - 1, horizon))
    built = _build(task.name, inputs, bags, parts[0], parts[1], False, task.k, task.cut)
    return replace(built, drawn=Drawn(task.negatives, task.drawn == "popularity"))


def _inputs_and_items(task: Counted, data: TaskData, cut: datetime) -> tuple[TrainingInputs, "_Ranked"]:
    inputs = data.inputs(cut)
    return inputs, _Ranked.over(inputs, task.services)


@dataclass(frozen=True)
class _Ranked:
    """The items that are ranked: all that were had before the fit, or those of some services."""

    bags: Bags
    items: Vocabulary
    columns: Int64  # of the bags

    @classmethod
    def over(cls, inputs: TrainingInputs, services: tuple[str, ...]) -> "_Ranked":
        bags = Bags.over(inputs)
        service = np.array([key.split("\x1f", 1)[0] for key in bags.items.values])
        columns = np.flatnonzero(np.isin(service, services) if services else np.ones(len(service), bool))
        return cls(bags, Vocabulary([bags.items.values[column] for column in columns.tolist()]), columns)

    def had(self, rows: Rows) -> sparse.csr_array:
        """[n, items] 1 where the user had the item before the time."""
        return sparse.csr_array(self.bags.had(rows.users, rows.as_of)[:, self.columns])


def _after(
    task: InteractTask | NextItemTask, data: TaskData, ranked: _Ranked, cut: datetime, new: bool, first: bool
) -> Asked:
    """Items that users who were active before a cut had in the horizon after it."""
    active = data.events(task, cut - timedelta(days=task.active_days), cut)["user_id"].combine_chunks().unique()
    rows = data.rows_at(active, np.full(len(active), microseconds(cut)))
    horizon = task.horizon_days * 86_400_000_000
    asked = _answers(task, data, ranked, rows, rows.as_of, horizon)
    if new:  # an unknown item is new to everybody; its place -1 is looked up in the last column, and overruled
        had = np.asarray(ranked.had(asked.rows)[asked.owner, asked.item]).ravel() > 0
        asked = keep_answers(asked, ~had | (asked.item == UNKNOWN))
    if first:
        asked = keep_answers(asked, np.diff(asked.owner, prepend=-1) > 0)
    return asked


def _answers(task: Counted, data: TaskData, ranked: _Ranked, rows: Rows, since: Int64, horizon: int) -> Asked:
    """Items that each row's user had in [since, since + horizon), each once, in their order in time."""
    if not len(rows):
        return Asked(rows, np.empty(0, np.int64), np.empty(0, np.int64))
    until = from_microseconds(int(since.max()) + horizon)
    events = data.events(task, from_microseconds(int(since.min())), until)
    row = places_of(events["user_id"].combine_chunks(), rows.users)
    time = np.asarray(events["event_time"].combine_chunks().cast(pa.int64()))
    item = ranked.items.encode(item_keys(*(events[name].combine_chunks() for name in ("service", "item_id"))))
    within = (row >= 0) & (time >= since[row]) & (time < since[row] + horizon)
    row, item = row[within], item[within]
    _, once = np.unique(row * (len(ranked.items) + 1) + item + 1, return_index=True)  # UNKNOWN is -1
    once = np.sort(once)  # events come by user and time; rows do not
    order = np.argsort(row[once], kind="stable")
    return Asked(rows, row[once][order], item[once][order])


def _leave_one_out(task: NextItemTask, data: TaskData) -> RankingTask:
    everybody = data.rows().users
    counted = np.flatnonzero(_event_mask(task, everybody))
    owner = owners(everybody)[counted]
    ends = np.searchsorted(owner, np.arange(everybody.num_rows), side="right")
    starts = np.searchsorted(owner, np.arange(everybody.num_rows))
    enough = np.flatnonzero(ends - starts >= 3)
    if len(enough) < FEWEST:
        raise InvalidInput(f"{task.name}: {len(enough)} users have three events, it needs {FEWEST}")
    moments = np.asarray(everybody["event_times"].combine_chunks().flatten())
    # Methods see nobody's last two events: neither the one that is tested nor the one that heads learn from.
    cut_off = np.full(everybody.num_rows, np.iinfo(np.int64).max)
    cut_off[enough] = moments[counted[ends[enough] - 2]]
    kept = with_events(everybody, moments < cut_off[owners(everybody)])
    inputs = replace(data.inputs(), tables=lambda: iter([kept]), snapshot=f"{data.newest.id}-without-last-two")
    ranked = _Ranked.over(inputs, task.services)
    keys = item_keys(*(everybody[name].combine_chunks().flatten() for name in ("services", "item_ids")))
    item = ranked.items.encode(keys)
    parts = []
    for back in (2, 1):
        place = counted[ends[enough] - back]
        rows = Rows(everybody, np.zeros(everybody.num_rows, np.int64)).take(enough)
        asked = Asked(replace(rows, as_of=moments[place]), np.arange(len(enough)), item[place])
        parts.append(asked)
    as_of = from_microseconds(int(parts[1].rows.as_of.max()))
    first = from_microseconds(int(parts[0].rows.as_of.min()))
    built = _build(task.name, inputs, ranked, parts[0], parts[1], task.new_only, task.k, as_of)
    return replace(built, known_before=first)


def _event_mask(task: Counted, users: pa.Table) -> Bool:
    """Bool [events] marks of the events that count."""
    flat = {name: users[name].combine_chunks().flatten() for name in ("services", "actions", "weights")}
    found = np.ones(len(flat["weights"]), bool)
    if task.actions:
        found &= np.asarray(pc.is_in(flat["actions"], value_set=pa.array(task.actions)))
    if task.services:
        found &= np.asarray(pc.is_in(flat["services"], value_set=pa.array(task.services)))
    if task.weight_above is not None:
        found &= np.asarray(flat["weights"]) > task.weight_above
    return found


def keep_answers(asked: Asked, kept: Bool) -> Asked:
    """The marked answers; all rows stay."""
    return replace(asked, owner=asked.owner[kept], item=asked.item[kept])


def _join(parts: list[Asked]) -> Asked:
    starts = np.cumsum([0, *(len(part.rows) for part in parts)])
    owner = np.concatenate([part.owner + start for part, start in zip(parts, starts[:-1], strict=True)])
    return Asked(Rows.joined([part.rows for part in parts]), owner, np.concatenate([part.item for part in parts]))


def drop_unanswered_rows(asked: Asked) -> Asked:
    """The answers without the rows that have none."""
    rows, owner = np.unique(asked.owner, return_inverse=True)
    return Asked(asked.rows.take(rows), owner, asked.item)


def _build(
    name: str,
    inputs: TrainingInputs,
    ranked: _Ranked,
    train: Asked,
    test: Asked,
    new_only: bool,
    k: int,
    as_of: datetime,
) -> RankingTask:
    train, test = drop_unanswered_rows(keep_answers(train, train.item != UNKNOWN)), drop_unanswered_rows(test)
    for part, where in ((train, "in training"), (test, "to test")):
        if len(part.rows) < FEWEST:
            raise InvalidInput(
                f"{name}: {len(part.rows)} users {where} have an item to be ranked, it needs {FEWEST}: ingest more, "
                "or choose other cuts or a longer horizon"
            )
    had = ranked.had(test.rows) if new_only else _nothing(len(test.rows), len(ranked.items))
    popularity = ranked.bags.users_per_item[ranked.columns]
    return RankingTask(inputs, ranked.items, popularity, train, test, had, k, None, as_of, as_of)


def _nothing(rows: int, columns: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.coo_array((rows, columns), dtype=np.float32))
