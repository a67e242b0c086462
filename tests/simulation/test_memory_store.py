"""The store in memory keeps the contract of the real ones, as far as it needs no Feast."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.feature_repo.online import test_online_stores as contract
from tests.simulation.memory_store import MemoryOnlineStore, StoreServer

CASES = (
    contract.test_reads_back_what_was_written_in_the_order_asked_for,
    contract.test_one_vector_is_read_as_several_are,
    contract.test_the_same_order_again_changes_nothing_and_counts_nothing,
    contract.test_within_one_batch_the_newest_wins,
    contract.test_where_no_fence_stands_nothing_behind_one_is_written,
    contract.test_a_fence_never_goes_back,
    contract.test_a_fence_lets_no_older_row_win,
    contract.test_the_mark_of_another_filling_lowers_all_fences,
    contract.test_numbers_that_cannot_be_compared_exactly_are_refused,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_keeps_the_contract(case: Callable[[Any], None], tmp_path: Path) -> None:
    feast: Any = SimpleNamespace(config=SimpleNamespace(project="portrait"))
    case(contract.Setup(feast, MemoryOnlineStore(StoreServer()), None, tmp_path))  # type: ignore[arg-type]
