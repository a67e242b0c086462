"""Ids of events without one: equal to DuckDB's, and so to those of a file's events."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portrait.feature_repo.ingest.event_ids import EventIds, weight_text
from portrait.feature_repo.log.duck import connect


def by_duckdb(weights: NDArray[np.float32], tmp_path: object) -> list[str]:
    with connect("1GB", tmp_path) as duck:  # type: ignore[arg-type]
        duck.register("weights", pa.table({"w": weights}))
        return [row[0] for row in duck.execute("SELECT concat(w) FROM weights").fetchall()]


def test_a_weight_reads_as_duckdb_writes_it(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 60_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    size = abs(bits)
    usual = (np.log2(size, where=size > 0, out=np.zeros_like(size)) % 1 != 0) | (size < 2**80) & (size > 2**-80)
    cases = [bits[np.isfinite(bits) & usual], np.arange(-3000, 3000) / 10, np.exp(rng.uniform(-12, 22, 40_000))]
    cases += [2.0 ** np.arange(-20, 60), 2.0**24 + np.arange(-3, 3), [97474820.0, 2744867.75, 203143.625, 265189392.0]]
    weights = np.concatenate([np.asarray(case, np.float32) for case in cases]) + np.float32(0)
    assert [weight_text(weight) for weight in weights.tolist()] == by_duckdb(weights, tmp_path)


def test_identical_events_are_counted() -> None:
    ids, payload = EventIds(), ("ann", "song", 1, "music", "play", 1.0)
    first, second, other = ids.id_for(payload), ids.id_for(payload), ids.id_for((*payload[:5], 2.0))
    assert len({first, second, other}) == 3 and all(len(one) == 32 for one in (first, second, other))
    again = EventIds()
    assert [again.id_for(payload), again.id_for(payload)] == [first, second]


def test_no_two_contents_read_the_same() -> None:
    texts = [("a", "bc", 1, "d", "e", 1.0), ("ab", "c", 1, "d", "e", 1.0), ("a", "b", 1, "cd", "e", 1.0)]
    assert len({EventIds().id_for(payload) for payload in texts}) == 3
