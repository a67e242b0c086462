"""Item tables and codes grow without a copy, and readers meanwhile notice nothing."""

import numpy as np
import pyarrow as pa

from portrait.training.blocks.item_table import ItemTable
from portrait.training.encoding.arrays import UNKNOWN
from portrait.training.encoding.later_items import FIRST_ROOM
from portrait.training.encoding.vocabulary import Codes, Vocabulary

NAN = np.float32(np.nan)
TRAINED = np.array([[1, 2, NAN], [3, 4, 5]], np.float32)  # modalities of 2 and of 1 dimensions


def sums(table: ItemTable, *bags: list[int]) -> list[list[float]]:
    items = np.array([item for bag in bags for item in bag], np.int64)
    of = np.repeat(np.arange(len(bags)), [len(bag) for bag in bags])
    found: list[list[float]] = table.sums(items, of, len(bags)).tolist()
    return found


def test_sums_count_what_is_present() -> None:
    table = ItemTable((2, 1), TRAINED)
    assert sums(table, [0, 1], [], [1, 1]) == [[4, 6, 5, 2, 1], [0, 0, 0, 0, 0], [6, 8, 10, 2, 2]]
    grown = table.grown(np.array([[NAN, NAN, 7]], np.float32))
    assert sums(grown, [0, 2], [2], [1]) == [[1, 2, 7, 1, 1], [0, 0, 7, 0, 1], [3, 4, 5, 1, 1]]


def test_weighted_sums_weigh_the_counts_too() -> None:
    table = ItemTable((2, 1), TRAINED).grown(np.array([[NAN, NAN, 8]], np.float32))
    found = table.sums(np.array([0, 1, 2, 1]), np.array([0, 0, 0, 2]), 3, np.array([1.0, 0.5, 0.25, 2.0]))
    assert found.tolist() == [[2.5, 4, 4.5, 1.5, 0.75], [0, 0, 0, 0, 0], [6, 8, 10, 2, 2]]


def test_a_table_without_modalities() -> None:
    assert ItemTable((), np.empty((0, 0), np.float32)).sums(np.array([], np.int64), np.array([], np.int64), 2).size == 0


def test_growing_copies_now_and_then_and_changes_nothing_before() -> None:
    tables = [ItemTable((2, 1), TRAINED)]
    for n in range(10 * FIRST_ROOM):
        tables.append(tables[-1].grown(np.full((1, 3), n, np.float32)))
    rooms = {table._learnt.rows.data_ptr() for table in tables[1:]}
    assert len(rooms) == 10  # 64 rows more each time, as an eighth is less
    assert all(table._trained is tables[0]._trained for table in tables)
    for known in (1, FIRST_ROOM, FIRST_ROOM + 1, 500):
        assert sums(tables[known], [2 + known - 1])[0][0] == known - 1
        assert len(tables[known]._learnt) == known


def test_codes_beyond_the_end_are_unknown() -> None:
    first: Codes = Vocabulary(["a", "b"])
    second = first.grown(["c", "a"])  # `a` keeps its code
    third = second.grown(["d"])
    texts = pa.array(["a", "b", "c", "d", None, "e"])
    assert first.encode(texts).tolist() == [0, 1] + [UNKNOWN] * 4
    assert second.encode(texts).tolist() == [0, 1, 2] + [UNKNOWN] * 3
    assert third.encode(texts).tolist() == [0, 1, 2, 4, UNKNOWN, UNKNOWN]
    assert [len(codes) for codes in (first, second, third)] == [2, 4, 5]
