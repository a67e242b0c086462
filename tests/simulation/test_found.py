"""What the simulation has found, as the shortest schedule that shows it."""

import pytest

from portrait.registry.errors import Unavailable
from tests.simulation.chance import Chance
from tests.simulation.schedule import Schedule


def test_a_take_over_that_is_broken_off_leaves_no_store_that_counts_as_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are gone: either the buckets are noted as lost, or the mark says that the store is another's."""
    schedule = Schedule(Chance(1))
    schedule._prelude()
    world = schedule.world
    operator, held = world.operator, world.shared.store.held
    operator.wire.calm = True
    assert any(held.rows.values())
    store, read = operator.store, operator.store.read_mark
    clear = store.clear

    def broken_off(*_: object) -> None:
        raise Unavailable("the store is away")

    def clear_and_break(*given: object) -> None:
        clear(*given)  # type: ignore[arg-type]
        monkeypatch.setattr(store, "read_mark", broken_off)

    monkeypatch.setattr(store, "clear", clear_and_break)
    with pytest.raises(Unavailable):
        operator.repo.identity.take_over({})
    monkeypatch.setattr(store, "read_mark", read)
    assert not any(held.rows.values())
    assert operator.repo.identity.problem() is not None or operator.repo.identity.lost() == {0, 1}
