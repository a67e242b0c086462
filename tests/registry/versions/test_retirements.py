"""Retirements: nothing that is read, or that somebody may go back to, ever ends, whoever asks and however."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from portrait.registry.database.tables import (
    GONE_STATES,
    AssignmentRow,
    EmbeddingVersionRow,
    RollbackWindowRow,
    VersionState,
)
from portrait.registry.errors import Conflict, InvalidInput, NotFound, PortraitError
from portrait.registry.records.records import Pin
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, read_state
from tests.registry.factories import AS_OF, new_version, ready_version

DAY = timedelta(days=1)


def assign(session: Session, consumer: str, stable: str, canary: str | None = None) -> None:
    """Let a consumer read, as a promotion writes it."""
    session.execute(delete(AssignmentRow).where(AssignmentRow.consumer == consumer))
    share = 0.1 if canary else None
    values = {"consumer": consumer, "stable": stable, "canary": canary, "canary_share": share, "kept": True}
    session.execute(insert(AssignmentRow).values(revision=1, changed_at=datetime.now(UTC), **values))


def window(session: Session, consumer: str, version: str, until: timedelta) -> None:
    """Let a consumer go back to a version for so long from now on."""
    of_both = (RollbackWindowRow.consumer == consumer) & (RollbackWindowRow.version == version)
    session.execute(delete(RollbackWindowRow).where(of_both))
    values = {"consumer": consumer, "version": version, "until": datetime.now(UTC) + until, "kept": True}
    session.execute(insert(RollbackWindowRow).values(values))


@pytest.fixture
def two(registry: Registry) -> Registry:
    """Two versions, registered only, and two consumers that read nothing."""
    for n in (1, 2):
        registry.versions.register(new_version(f"run-{n}"))
    for name in ("ads", "search"):
        registry.consumers.add(name, "team")
    return registry


def test_a_version_retires_in_two_steps_that_gateways_follow(registry: Registry) -> None:
    version = ready_version(registry)
    before = read_generation(registry.database)
    assert registry.retirements.begin(version.id, "too old") == before + 1
    assert read_state(registry.database).versions[version.id].state is VersionState.RETIRING
    retired = registry.retirements.finish(version.id)
    assert retired == registry.versions.get(version.id)
    assert (retired.state, retired.last_as_of) == (VersionState.RETIRED, AS_OF)
    assert read_generation(registry.database) == before + 2


def test_a_retirement_that_was_cut_short_goes_on(two: Registry) -> None:
    first = two.retirements.begin("autoencoder-1")
    two.consumers.add("mail", "team")
    assert two.retirements.begin("autoencoder-1", "again") == read_generation(two.database) == first + 1
    retired = two.retirements.finish("autoencoder-1")
    assert two.retirements.finish("autoencoder-1") == retired
    assert read_generation(two.database) == first + 2
    with pytest.raises(Conflict, match="autoencoder-1 is retired"):
        two.retirements.begin("autoencoder-1")


def test_a_version_retires_from_every_state_that_it_may_be_left_in(registry: Registry) -> None:
    for n in range(1, 4):
        registry.versions.register(new_version(f"run-{n}"))
    registry.backfills.begin("autoencoder-2", "snapshot-1", AS_OF, 1)
    registry.versions.fail("autoencoder-3", "diverged")
    for id in ("autoencoder-1", "autoencoder-2", "autoencoder-3"):
        registry.retirements.begin(id)
        registry.retirements.finish(id)
    assert {version.state for version in registry.versions.list()} == {VersionState.RETIRED}
    assert registry.versions.get("autoencoder-3").failure == "diverged"


def test_what_was_not_begun_cannot_be_finished(two: Registry) -> None:
    with pytest.raises(Conflict, match=r"autoencoder-1 is registered: run `portrait retire autoencoder-1`"):
        two.retirements.finish("autoencoder-1")
    for refused in (two.retirements.begin, two.retirements.finish):
        with pytest.raises(NotFound, match="no version 'autoencoder-9'; known: autoencoder-1, autoencoder-2"):
            refused("autoencoder-9")
    with pytest.raises(InvalidInput, match="reason"):
        two.retirements.begin("autoencoder-1", "a\x00b")
    assert two.versions.get("autoencoder-1").state is VersionState.REGISTERED


def test_every_pin_is_named(two: Registry) -> None:
    with two.database.transaction() as session:
        assign(session, "ads", "autoencoder-1")
        assign(session, "search", "autoencoder-2", canary="autoencoder-1")
        window(session, "search", "autoencoder-1", 3 * DAY)
        window(session, "ads", "autoencoder-2", -DAY)
    until = datetime.now(UTC) + 3 * DAY
    pins = two.retirements.pins()
    assert [(pin.version, pin.consumer, pin.why) for pin in pins] == [
        ("autoencoder-1", "ads", "stable"),
        ("autoencoder-1", "search", "canary"),
        ("autoencoder-1", "search", "rollback"),
        ("autoencoder-2", "search", "stable"),
    ]
    assert pins[0] == Pin("autoencoder-1", "ads", "stable", None)
    assert pins[2].until is not None and abs(pins[2].until - until) < timedelta(minutes=1)
    with pytest.raises(Conflict) as refusal:
        two.retirements.begin("autoencoder-1")
    for said in (
        "ads reads it as its stable",
        "search reads it as its canary",
        f"search may roll back to it until {pins[2].until.isoformat(timespec='seconds')}",
    ):
        assert said in str(refusal.value)
    assert two.versions.get("autoencoder-1").state is VersionState.REGISTERED


def test_a_promoted_version_and_the_one_before_it_are_pinned(registry: Registry) -> None:
    for n in (1, 2):
        ready_version(registry, f"run-{n}")
    registry.consumers.add("ads", "team")
    for n in (1, 2):
        registry.promotions.promote("ads", f"autoencoder-{n}", "better")
    assert [(pin.version, pin.why) for pin in registry.retirements.pins()] == [
        ("autoencoder-1", "rollback"),
        ("autoencoder-2", "stable"),
    ]
    for n, said in ((1, "ads may roll back to it until"), (2, "ads reads it as its stable")):
        with pytest.raises(Conflict, match=said):
            registry.retirements.begin(f"autoencoder-{n}")


def test_a_window_that_has_ended_keeps_nothing_alive(two: Registry) -> None:
    with two.database.transaction() as session:
        for version, until in (("autoencoder-1", -DAY), ("autoencoder-2", -DAY)):
            window(session, "ads", version, until)
        window(session, "search", "autoencoder-2", DAY)
    two.retirements.begin("autoencoder-1")
    with pytest.raises(Conflict, match="search may roll back"):
        two.retirements.begin("autoencoder-2")
    with two.database.reading() as session:
        left = session.execute(select(RollbackWindowRow.version, RollbackWindowRow.consumer)).all()
    # Those of another version stay, and those of a refused retirement come back.
    assert sorted((version, consumer) for version, consumer in left) == [
        ("autoencoder-2", "ads"),
        ("autoencoder-2", "search"),
    ]


PINS: dict[str, Callable[[Session, str], None]] = {
    "stable": lambda session, version: assign(session, "ads", version),
    "canary": lambda session, version: assign(session, "ads", "autoencoder-2", canary=version),
    "rollback": lambda session, version: window(session, "ads", version, DAY),
}


@pytest.mark.parametrize("pin", PINS)
def test_the_database_has_the_last_word(two: Registry, monkeypatch: pytest.MonkeyPatch, pin: str) -> None:
    """A pin that nobody has looked at: neither code nor a bare statement gets past it, and the other way round."""
    with two.database.transaction() as session:
        PINS[pin](session, "autoencoder-1")
    monkeypatch.setattr("portrait.registry.versions.retirements._pins", lambda session: [])
    with pytest.raises(Conflict, match="autoencoder-1 was pinned by somebody else at this moment"):
        two.retirements.begin("autoencoder-1")
    for state in (VersionState.RETIRING, VersionState.RETIRED):
        with pytest.raises(Conflict, match="contradicts"), two.database.transaction() as session:
            _set(session, "autoencoder-1", state=state, kept=False)
    assert two.versions.get("autoencoder-1").state is VersionState.REGISTERED
    with two.database.transaction() as session:
        session.execute(delete(AssignmentRow))
        session.execute(delete(RollbackWindowRow))
    two.retirements.begin("autoencoder-1")
    with pytest.raises(Conflict, match="contradicts"), two.database.transaction() as session:
        PINS[pin](session, "autoencoder-1")


def test_the_state_and_what_pins_refer_to_cannot_be_told_apart(two: Registry) -> None:
    for change in ({"state": VersionState.RETIRING}, {"kept": False}):
        with pytest.raises(Conflict, match="kept_follows_state"), two.database.transaction() as session:
            _set(session, "autoencoder-1", **change)


def test_a_retiring_version_takes_no_more_vectors(two: Registry) -> None:
    backfill = two.backfills.begin("autoencoder-1", "snapshot-1", AS_OF, 1)
    two.retirements.begin("autoencoder-1")
    for state in ("retiring", "retired"):
        for refused in (
            lambda: two.backfills.begin("autoencoder-1", "snapshot-1", AS_OF, 1),
            lambda: two.backfills.begin("autoencoder-1", "snapshot-2", AS_OF, 1),
            lambda: two.backfills.bucket_done(backfill.id, 0, 1),
            lambda: two.backfills.finish(backfill.id),
        ):
            with pytest.raises(Conflict, match=f"autoencoder-1 is {state}: backfill a live version"):
                refused()
        with pytest.raises(Conflict, match=f"autoencoder-1 is {state}: it can no longer fail"):
            two.versions.fail("autoencoder-1", "")
        two.retirements.finish("autoencoder-1")
    assert two.backfills.list("autoencoder-1") == [backfill]


@pytest.mark.parametrize("pin", PINS)
def test_pinning_against_retiring_never_does_both(two: Registry, pin: str) -> None:
    for n in range(5):
        version = two.versions.register(new_version(f"run-of-{n}")).id
        start = Barrier(2)
        with ThreadPoolExecutor(2) as threads:
            pinned = threads.submit(_attempt, start, partial(_pin, two, pin, version))
            retired = threads.submit(_attempt, start, partial(two.retirements.begin, version))
        assert pinned.result() != retired.result()
        assert (two.versions.get(version).state is VersionState.RETIRING) == retired.result()
        _require_never_both(two)


@dataclass(frozen=True)
class Step:
    """Something that somebody tries."""

    what: str
    consumer: str
    version: int
    other: int


STEPS = st.builds(
    Step,
    st.sampled_from(["begin", "begin", "finish", "stable", "canary", "open window", "ended window", "leave"]),
    st.sampled_from(["ads", "search"]),
    st.integers(1, 3),
    st.integers(1, 3),
)
_families = count()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=4, max_size=10))
def test_a_version_is_never_both_pinned_and_gone(registry: Registry, steps: list[Step]) -> None:
    family = f"family{next(_families)}"
    for name in ("ads", "search"):
        registry.consumers.add(name, "team")
    for n in (1, 2, 3):
        registry.versions.register(new_version(f"{family}-{n}", family=family))
    for step in steps:
        before, refused = _picture(registry), False
        try:
            _try(registry, family, step)
        except PortraitError:
            refused = True
        _require_never_both(registry)
        assert not refused or _picture(registry) == before
    with registry.database.transaction() as session:
        session.execute(delete(AssignmentRow))
        session.execute(delete(RollbackWindowRow))
    for version in registry.versions.list((VersionState.REGISTERED, VersionState.RETIRING)):
        registry.retirements.begin(version.id)  # whatever has happened: without its pins it comes to its end
        registry.retirements.finish(version.id)


def _try(registry: Registry, family: str, step: Step) -> None:
    version, other = f"{family}-{step.version}", f"{family}-{step.other}"
    if step.what == "begin":
        registry.retirements.begin(version)
        return
    if step.what == "finish":
        registry.retirements.finish(version)
        return
    with registry.database.transaction() as session:
        match step.what:
            case "stable":
                assign(session, step.consumer, version)
            case "canary":
                assign(session, step.consumer, other, canary=version)
            case "open window":
                window(session, step.consumer, version, DAY)
            case "ended window":
                window(session, step.consumer, version, -DAY)
            case "leave":
                session.execute(delete(AssignmentRow).where(AssignmentRow.consumer == step.consumer))


def _picture(registry: Registry) -> tuple[Any, ...]:
    state = read_state(registry.database)
    return state.versions, state.assignments, registry.retirements.pins()


def _require_never_both(registry: Registry) -> None:
    gone = {version.id for version in registry.versions.list(GONE_STATES)}
    assert not gone & {pin.version for pin in registry.retirements.pins()}


def _set(session: Session, version: str, **values: Any) -> None:
    session.execute(update(EmbeddingVersionRow).where(EmbeddingVersionRow.id == version).values(**values))


def _pin(registry: Registry, pin: str, version: str) -> None:
    with registry.database.transaction() as session:
        PINS[pin](session, version)


def _attempt(start: Barrier, change: Callable[[], object]) -> bool:
    start.wait()
    try:
        change()
    except Conflict:
        return False
    return True
