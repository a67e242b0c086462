"""CLUE's transfer between services as a ranking task, on which all baselines can be measured."""

import numpy as np
import pyarrow as pa
from scipy import sparse

from portrait.training.encoding.arrays import Int64
from portrait.training.encoding.vocabulary import Vocabulary, item_keys
from portrait.training.evaluation.cross_service import CrossServiceRanking as Built
from portrait.training.evaluation.cross_service import Seen, cross_service_task, training_users
from portrait.training.evaluation.tasks.kinds import CrossServiceTask
from portrait.training.evaluation.tasks.rankings import Asked, RankingTask
from portrait.training.evaluation.tasks.task_data import Rows, TaskData
from portrait.training.metrics.user_split import UserPart


def transfer_task(task: CrossServiceTask, data: TaskData) -> RankingTask:
    """Disjoint users; methods learn from the training users alone. Raises InvalidInput when there are too few."""
    everybody = data.rows(task.as_of)
    built = cross_service_task(everybody.users, task.target)
    inputs = data.inputs(task.as_of, lambda table: next(training_users(iter([table]))), f"{task.target}-training-users")
    service = pa.array([task.target] * len(built.items))
    keys = item_keys(service, pa.array(built.items.values, pa.string()))
    popularity = np.zeros(len(built.items), np.int64)
    popularity[: len(built.popularity)] = built.popularity[: len(built.items)]
    parts = {part: _part_examples(built, task, part, int(everybody.as_of.max(initial=0))) for part in UserPart}
    return RankingTask(
        inputs=inputs,
        items=Vocabulary(keys.to_pylist()),
        popularity=popularity,
        train=parts[UserPart.TRAIN],
        test=parts[UserPart.TEST],
        had=sparse.csr_array(built.parts[UserPart.TEST].hidden.astype(np.float32)),
        k=task.k,
        drawn=None,
        as_of=task.as_of or data.newest.as_of,
        known_before=task.as_of,
        choose=parts[UserPart.VALIDATION],
    )


def _part_examples(built: Built, task: CrossServiceTask, part: UserPart, latest: int) -> Asked:
    """The users of a part with the events that may be seen; events are chosen by place, so one time does for all."""
    examples = built.parts[part]
    users = examples.seen(task.target, Seen(task.seen), task.clock)
    moments = users["event_times"].combine_chunks().flatten().to_numpy()
    as_of: Int64 = np.full(users.num_rows, min(int(moments.max(initial=0)) + 1, latest), np.int64)
    return Asked(Rows(users, as_of), np.arange(len(examples), dtype=np.int64), examples.item)
