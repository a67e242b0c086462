"""The churn task on UCI Online Retail II: who bought in the last half year and will not buy in the next 90 days?

Labels and plain features come from the invoice lines themselves, not from Portrait, so that a fault of ours cannot
move the task. A purchase is a line with customer, description, quantity > 0 and price > 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from registry.errors import InvalidInput

TRAIN_CUT = datetime(2011, 6, 10)  # UTC, as the invoice times are
TEST_CUT = datetime(2011, 9, 8)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_PURCHASES = r"""
    CREATE VIEW purchases AS
    SELECT customer_id AS customer, trim(regexp_replace(upper(description), '\s+', ' ', 'g')) AS item,
           invoice_time::TIMESTAMP AS time, quantity * unit_price AS money
    FROM lines WHERE customer_id IS NOT NULL AND description IS NOT NULL AND quantity > 0 AND unit_price > 0
"""

_POPULATION = """
    SELECT customer, NOT bool_or(time >= $cut AND time < $cut + INTERVAL 90 DAYS) AS churned
    FROM purchases GROUP BY customer
    HAVING bool_or(time >= $cut - INTERVAL 180 DAYS AND time < $cut) ORDER BY customer
"""

# Recency, frequency and money, the latter two in all and in windows; a visit is a time with at least one purchase.
_RFM = """
    SELECT customer, date_diff('second', max(time), $cut) / 86400.0 AS recency,
           date_diff('second', min(time), $cut) / 86400.0 AS tenure,
           count(DISTINCT time) AS visits, count(*) AS lines, count(DISTINCT item) AS items, sum(money) AS money,
           {windows}
    FROM purchases WHERE time < $cut GROUP BY customer
"""
_WINDOW = """
    count(DISTINCT time) FILTER (time >= $cut - INTERVAL {days} DAYS) AS visits_{days},
    coalesce(sum(money) FILTER (time >= $cut - INTERVAL {days} DAYS), 0) AS money_{days}
"""
_WINDOWS = ",".join(_WINDOW.format(days=days) for days in (30, 90, 180))

_BASKETS = "SELECT customer, item FROM purchases WHERE time < $cut"


@dataclass(frozen=True)
class Population:
    """The customers of a cut and whether they churn; every feature array has its rows in this order."""

    cut: datetime
    customers: list[str]
    churned: BoolArray  # [n]

    def __len__(self) -> int:
        return len(self.customers)


class ChurnTask:
    """The labels and the plain features at a cut, as a context; `path` is transactions.parquet."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InvalidInput(f"there is no file {path}: give the transactions.parquet of Online Retail II")
        self._connection = duckdb.connect(config={"threads": 2})
        self._connection.register("lines", pq.read_table(path))
        self._connection.execute(_PURCHASES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.close()

    def population(self, cut: datetime) -> Population:
        """Customers with a purchase in the 180 days before the cut; churned: none in the 90 days from it on."""
        found = self._query(_POPULATION, cut)
        return Population(cut, found["customer"].to_pylist(), found["churned"].to_numpy())

    def rfm(self, population: Population) -> FloatArray:
        """Recency [:, 0] and tenure in days, frequency and money before the cut: [n, 12]."""
        found = self._query(_RFM.format(windows=_WINDOWS), population.cut)
        rows = _rows_of(population.customers, found["customer"], "a purchase")
        columns = [found[name].cast(pa.float64()).to_numpy() for name in found.column_names[1:]]
        features: FloatArray = np.stack(columns, axis=1)[rows]
        return features

    def baskets(self, population: Population) -> dict[str, list[str]]:
        """The items of each customer's purchase lines before the cut, in no order."""
        found = self._query(_BASKETS, population.cut).group_by("customer").aggregate([("item", "list")])
        baskets = dict(zip(found["customer"].to_pylist(), found["item_list"].to_pylist(), strict=True))
        return {customer: baskets[customer] for customer in population.customers}

    def _query(self, sql: str, cut: datetime) -> pa.Table:
        return self._connection.execute(sql, {"cut": cut}).to_arrow_table()


def exported_vectors(path: Path, population: Population) -> FloatArray:
    """The vectors of a population from the file of `portrait export`: [n, d].

    Raises InvalidInput when the file is no such export, or when a customer has no vector or one that is not finite.
    """
    try:
        export = pq.read_table(path, columns=["user_id", "vector"])
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInput(f"{path} is not an export with user_id and vector: {error}") from error
    if not pa.types.is_fixed_size_list(export.schema.field("vector").type):
        raise InvalidInput(f"{path}: vector is {export.schema.field('vector').type}, it must be a fixed-size list")
    rows = _rows_of(population.customers, export["user_id"], f"a vector in {path}")
    flat = export["vector"].combine_chunks().take(pa.array(rows)).flatten()
    vectors: FloatArray = flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(population), -1)
    if not np.isfinite(vectors).all():
        raise InvalidInput(f"{path} has vectors that are not finite")
    return vectors


def _rows_of(customers: Sequence[str], found: pa.ChunkedArray, what: str) -> npt.NDArray[np.int64]:
    rows = pc.index_in(pa.array(customers, pa.string()), found.combine_chunks())
    if rows.null_count:
        raise InvalidInput(f"{rows.null_count} of {len(customers)} customers do not have {what}")
    positions: npt.NDArray[np.int64] = rows.to_numpy().astype(np.int64)
    return positions
