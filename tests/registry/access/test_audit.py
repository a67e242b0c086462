"""The audit: one event a change, none for the same again, and every refusal with its reason."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text

from portrait.registry.access.audit import Action, AuditEvent, AuditOutcome
from portrait.registry.consumers.heads import NewHead
from portrait.registry.errors import Conflict, Forbidden, InvalidInput, NotFound, PortraitError, Unavailable
from portrait.registry.records.grants import Grant, Scope
from portrait.registry.registry import Registry
from tests.registry.factories import AS_OF, new_version, ready_version

HEAD = NewHead(
    consumer="ads",
    version="autoencoder-1",
    fingerprint="fingerprint-of-run-1",
    task="churn",
    data_stamp="2011",
    as_of=AS_OF,
    metrics={"auc": 0.75},
    location="heads/1",
)


def prepared(registry: Registry) -> Registry:
    """Versions 1 and 2 with a begun backfill each, 3 and 4 as registered, a consumer; acts for ada."""
    for n in (1, 2, 3, 4):
        registry.versions.register(new_version(f"run-{n}"))
    for n in (1, 2):
        registry.backfills.begin(f"autoencoder-{n}", "snapshot-1", AS_OF, 0)
    registry.consumers.add("ads", "team", "bid")
    return registry.acting("ada")


def evaluate(registry: Registry, fingerprint: str = "fingerprint-of-run-1", task: str = "churn") -> None:
    registry.versions.record_evaluation(
        "autoencoder-1",
        fingerprint=fingerprint,
        task=task,
        metric="auc",
        value=0.75,
        as_of=AS_OF,
        data_stamp="2011",
    )


Change = Callable[[Registry], object]

CHANGES: list[tuple[Change, Action, str, dict[str, Any]]] = [
    (
        lambda r: r.versions.register(new_version("run-5")),
        Action.VERSION_REGISTER,
        "version autoencoder-5",
        {"run": "run-5", "fingerprint": "fingerprint-of-run-5", "parent": "autoencoder-4"},
    ),
    (
        lambda r: r.versions.fail("autoencoder-3", "diverged"),
        Action.VERSION_FAIL,
        "version autoencoder-3",
        {"reason": "diverged", "was": "registered"},
    ),
    (
        lambda r: r.backfills.begin("autoencoder-4", "snapshot-1", AS_OF, 5),
        Action.BACKFILL_BEGIN,
        "version autoencoder-4",
        {"backfill": 3, "snapshot": "snapshot-1", "users_expected": 5},
    ),
    (
        lambda r: r.backfills.finish(1),
        Action.BACKFILL_FINISH,
        "version autoencoder-1",
        {"backfill": 1, "snapshot": "snapshot-1", "users": 0},
    ),
    (
        lambda r: r.consumers.add("search", "team", "rank", ["tolerance=0.1"], True),
        Action.CONSUMER_ADD,
        "consumer search",
        {
            "owner": "team",
            "task": "rank",
            "gates": {"tolerance": 0.1},
            "wants_head": True,
            "max_age_seconds": None,
        },
    ),
    (
        lambda r: r.consumers.set("ads", task="rank", gates={"tolerance": 0.1}),
        Action.CONSUMER_SET,
        "consumer ads",
        {"task": {"from": "bid", "to": "rank"}, "gates": {"from": {}, "to": {"tolerance": 0.1}}},
    ),
    (
        lambda r: r.heads.register(HEAD),
        Action.HEAD_REGISTER,
        "consumer ads",
        {"version": "autoencoder-1", "task": "churn", "location": "heads/1"},
    ),
    (
        lambda r: r.retirements.begin("autoencoder-2", "too old"),
        Action.VERSION_RETIRE,
        "version autoencoder-2",
        {"reason": "too old", "was": "backfilling"},
    ),
]


def test_a_change_leaves_one_event_and_the_same_again_none(registry: Registry) -> None:
    ada = prepared(registry)
    for change, action, subject, detail in CHANGES:
        before = len(registry.audit.list())
        change(ada)
        (event,) = registry.audit.list()[before:]
        assert (event.actor, event.action, event.subject, event.outcome) == ("ada", action, subject, AuditOutcome.DONE)
        assert event.detail == detail
        assert abs(event.at - datetime.now(UTC)) < timedelta(minutes=1)
        change(ada)
        assert registry.audit.list()[before:] == [event]


def test_each_evaluation_is_an_event(registry: Registry) -> None:
    ada, before = prepared(registry), len(registry.audit.list())
    evaluate(ada)
    evaluate(ada)
    events = registry.audit.list()[before:]
    assert [event.action for event in events] == [Action.EVALUATION_RECORD] * 2
    assert events[0].detail == {"task": "churn", "metric": "auc", "value": 0.75, "data_stamp": "2011"}


def test_retiring_to_the_end_is_two_events(registry: Registry) -> None:
    ada, before = prepared(registry), len(registry.audit.list())
    ada.retirements.begin("autoencoder-3")
    ada.retirements.finish("autoencoder-3")
    ada.retirements.finish("autoencoder-3")
    assert _told(registry, before) == [
        ("version.retire", "version autoencoder-3", "done"),
        ("version.retired", "version autoencoder-3", "done"),
    ]


REFUSALS: list[tuple[Change, str, str, str]] = [
    (
        lambda r: r.versions.register(new_version("run-1", fingerprint="bbbb")),
        "version.register",
        "run run-1",
        "autoencoder-1 with fingerprint fingerprint-of-run-1, not bbbb",
    ),
    (lambda r: r.versions.fail("autoencoder-9", ""), "version.fail", "version autoencoder-9", "there is no version"),
    (lambda r: r.versions.fail("autoencoder-1", "\x00"), "version.fail", "version autoencoder-1", "cannot be printed"),
    (lambda r: evaluate(r, "bbbb"), "evaluation.record", "version autoencoder-1", "bbbb was evaluated"),
    (lambda r: evaluate(r, task=""), "evaluation.record", "version autoencoder-1", "task is empty"),
    (
        lambda r: r.backfills.begin("autoencoder-1", "snapshot-1", AS_OF, 7),
        "backfill.begin",
        "version autoencoder-1",
        "not as of",
    ),
    (
        lambda r: r.backfills.begin("autoencoder-1", "s", AS_OF, -1),
        "backfill.begin",
        "version autoencoder-1",
        "users_expected -1",
    ),
    (lambda r: r.backfills.finish(77), "backfill.finish", "backfill 77", "there is no backfill 77"),
    (lambda r: r.consumers.add("ads", "other", "bid"), "consumer.add", "consumer ads", "another owner"),
    (lambda r: r.consumers.add("Ads", "team"), "consumer.add", "consumer Ads", "begin with a lower case letter"),
    (lambda r: r.consumers.set("adz", owner="x"), "consumer.set", "consumer adz", "no consumer 'adz'"),
    (lambda r: r.consumers.set("ads", gates=["x=1"]), "consumer.set", "consumer ads", "no gate setting 'x'"),
    (
        lambda r: r.heads.register(NewHead(**{**vars(HEAD), "fingerprint": "bbbb"})),
        "head.register",
        "consumer ads",
        "vectors of bbbb",
    ),
    (lambda r: r.keys.add("ci", []), "key.add", "key of ci", "at least one scope"),
    (lambda r: r.keys.revoke("0badc0de"), "key.revoke", "key 0badc0de", "there is no key 0badc0de"),
    (lambda r: r.retirements.begin("x"), "version.retire", "version x", "there is no version 'x'"),
    (
        lambda r: r.retirements.finish("autoencoder-1"),
        "version.retired",
        "version autoencoder-1",
        "autoencoder-1 is backfilling",
    ),
]


def test_a_refusal_leaves_an_event_with_its_reason_and_nothing_else(registry: Registry) -> None:
    ada = prepared(registry)
    versions, consumers = registry.versions.list(), registry.consumers.list()
    for change, action, subject, reason in REFUSALS:
        before = len(registry.audit.list())
        with pytest.raises(PortraitError) as refusal:
            change(ada)
        (event,) = registry.audit.list()[before:]
        told = (event.actor, event.action, event.subject, event.outcome)
        assert told == ("ada", action, subject, AuditOutcome.REFUSED)
        assert event.detail == {"reason": str(refusal.value)}
        assert reason in event.detail["reason"]
    assert (registry.versions.list(), registry.consumers.list()) == (versions, consumers)


def test_what_a_refused_change_wrote_is_undone_but_not_its_event(registry: Registry) -> None:
    """The last moment: the change has written, then the database or a rule says no."""
    with pytest.raises(Conflict), registry.audit.change(Action.PROMOTE, "consumer ads") as entry:
        entry.session.execute(text("UPDATE instance SET generation = 77"))
        entry.detail["version"] = "autoencoder-1"
        raise Conflict("too late")
    assert _told(registry) == [("promotion.promote", "consumer ads", "refused")]
    with registry.database.reading() as session:
        assert session.scalar(text("SELECT generation FROM instance")) == 0


def test_a_mistake_of_ours_and_an_outage_are_no_refusals(registry: Registry) -> None:
    for error in (ZeroDivisionError("ours"), Unavailable("the database is away")):
        with pytest.raises(type(error)), registry.audit.change(Action.PROMOTE, "consumer ads"):
            raise error
    assert registry.audit.list() == []


STRANGE = ("a\x00b", "\ud800", "\x1b[2J", "a\nb", "\u202egnp", "x" * 500, "ключ", "😀")


def test_whatever_is_sent_as_a_name_is_kept_and_safe_to_show(registry: Registry) -> None:
    for name in STRANGE:
        _try_everything(registry, name)
    events = registry.audit.list()
    assert len(events) == 7 * len(STRANGE)
    assert all(event.subject.isprintable() and 0 < len(event.subject) <= 160 for event in events)
    assert all(event.detail["reason"].replace("\n", " ").isprintable() for event in events)
    json.dumps([event.detail for event in events], ensure_ascii=False).encode()


def _try_everything(registry: Registry, name: str) -> None:
    changes: list[Callable[[], object]] = [
        lambda: registry.consumers.add(name, "team"),
        lambda: registry.consumers.set(name, owner="team"),
        lambda: registry.versions.fail(name, "broken"),
        lambda: registry.backfills.begin(name, "snapshot", AS_OF, 1),
        lambda: registry.retirements.begin(name),
        lambda: registry.keys.add("ci", [Grant(Scope.READ, name)]),
    ]
    for change in changes:
        with pytest.raises((InvalidInput, NotFound)):
            change()
    registry.audit.refused(Action.ACCESS, f"GET /{name}", Forbidden(f"no {name}"))


def test_details_of_any_depth_fit_both_databases(registry: Registry) -> None:
    with registry.audit.change(Action.PROMOTE, "consumer ads") as entry:
        entry.detail |= {
            "share": float("nan"),
            "reason": "two\nlines\x00",
            "gates": [{"a\x00": ("\ud800", 1)}],
            "on": True,
        }
    (event,) = registry.audit.list()
    assert event.detail == {
        "share": "nan",
        "reason": "two\nlines\\x00",
        "gates": [{"a\\x00": ["\\ud800", 1]}],
        "on": True,
    }


@pytest.mark.parametrize("actor", ["", " ", "a\x00b", "a" * 129])
def test_nobody_acts_under_a_name_that_cannot_be_kept(actor: str) -> None:
    with pytest.raises(InvalidInput, match="actor"):
        Registry.open("sqlite://", actor)


def test_no_key_and_no_digest_is_ever_in_the_audit(registry: Registry) -> None:
    registry.consumers.add("ads", "team")
    key, secret = registry.keys.add("ci", [Grant(Scope.READ, "ads")])
    with pytest.raises(NotFound) as refusal:
        registry.keys.revoke(secret)  # pasted where the id belongs
    registry.keys.revoke(key.id)
    told = json.dumps([(event.subject, event.detail) for event in registry.audit.list()])
    assert _told(registry, 1) == [
        ("key.add", f"key {key.id}", "done"),
        ("key.revoke", "key ?", "refused"),
        ("key.revoke", f"key {key.id}", "done"),
    ]
    for part in (secret, secret.split("_", 2)[2], key.sha256):
        assert part not in told + str(refusal.value) + repr(key) + str(key)


def test_events_are_listed_from_a_time_and_beyond_an_id(registry: Registry) -> None:
    ready_version(registry)
    events = registry.audit.list()
    assert [event.action for event in events] == [
        Action.VERSION_REGISTER,
        Action.BACKFILL_BEGIN,
        Action.BACKFILL_FINISH,
    ]
    assert registry.audit.list(after=events[0].id) == events[1:]
    assert registry.audit.list(after=2**62) == registry.audit.list(after=10**30) == []
    assert registry.audit.list(limit=2) == events[:2]
    assert registry.audit.list(since=events[2].at) == events[2:]
    assert registry.audit.list(since=events[2].at + timedelta(seconds=1)) == []


def test_who_follows_the_events_misses_none(registry: Registry) -> None:
    """Ids grow in the order of the commits: an event with a smaller id never appears later."""
    evaluating, seen = Event(), []

    def follow() -> list[AuditEvent]:
        events: list[AuditEvent] = []
        while not evaluating.is_set():
            events += registry.audit.list(after=events[-1].id if events else 0)
        return events + registry.audit.list(after=events[-1].id if events else 0)

    def refuse(worker: int) -> None:
        for n in range(10):
            registry.audit.refused(Action.ACCESS, f"{worker}-{n}", Forbidden("no"))

    with ThreadPoolExecutor(6) as threads:
        following = threads.submit(follow)
        list(threads.map(refuse, range(5)))
        evaluating.set()
        seen = following.result()
    assert seen == registry.audit.list()
    assert len(seen) == 50


def test_a_refusal_that_cannot_be_kept_is_logged(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    away = Registry.open("sqlite:////nowhere/registry.db", "ada")
    with caplog.at_level(logging.ERROR):
        away.audit.refused(Action.ACCESS, "GET /v1\n/ads", Forbidden("this key does not read ads"))
    assert "refused access of GET /v1\\n/ads by ada could not be audited" in caplog.text
    away.close()


def _told(registry: Registry, after: int = 0) -> list[tuple[str, str, str]]:
    return [(event.action, event.subject, event.outcome) for event in registry.audit.list()[after:]]
