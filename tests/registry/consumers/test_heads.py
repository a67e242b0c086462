"""Heads: kept with the vectors that they were trained on, refused for any others."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from portrait.registry.access.audit import Action
from portrait.registry.consumers.heads import NewHead
from portrait.registry.errors import Conflict, FingerprintMismatch, InvalidInput, NotFound
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation
from tests.registry.factories import AS_OF, new_version


def new_head(version: str = "autoencoder-1", **fields: Any) -> NewHead:
    """A head of `ads` to register."""
    defaults: dict[str, Any] = {
        "consumer": "ads",
        "fingerprint": f"fingerprint-of-run-{version[-1]}",
        "task": "churn",
        "data_stamp": "sha256:1234",
        "as_of": AS_OF,
        "metrics": {"auc": 0.75},
        "location": "s3://heads/1",
    }
    return NewHead(version=version, **{**defaults, **fields})


@pytest.fixture
def ready(registry: Registry) -> Registry:
    """With two versions and the consumer `ads`."""
    for n in (1, 2):
        registry.versions.register(new_version(f"run-{n}"))
    registry.consumers.add("ads", "team")
    return registry


def test_a_head_keeps_what_it_was_registered_with(ready: Registry) -> None:
    new = new_head(metrics={"auc": np.float32(0.75), "lift": 2})
    generation = read_generation(ready.database)
    head = ready.acting("ada").heads.register(new)
    assert ready.heads.list("ads") == [head]
    for name in ("consumer", "version", "fingerprint", "task", "data_stamp", "as_of", "location"):
        assert getattr(head, name) == getattr(new, name)
    assert (head.metrics, head.created_by) == ({"auc": 0.75, "lift": 2.0}, "ada")
    assert abs(head.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert read_generation(ready.database) == generation  # serving shows no heads


def test_the_same_head_again_is_kept_once(ready: Registry) -> None:
    first = ready.heads.register(new_head())
    assert ready.acting("bob").heads.register(new_head()) == first
    better = ready.heads.register(new_head(metrics={"auc": 0.76}))
    back = ready.heads.register(new_head())
    assert ready.heads.list("ads") == [first, better, back]
    assert len({first.id, better.id, back.id}) == 3


def test_the_same_head_from_many_at_once_is_kept_once(ready: Registry) -> None:
    start = Barrier(6)

    def register(_worker: int) -> int:
        start.wait()
        return ready.heads.register(new_head()).id

    with ThreadPoolExecutor(6) as threads:
        ids = set(threads.map(register, range(6)))
    assert {head.id for head in ready.heads.list("ads")} == ids and len(ids) == 1
    assert [event.action for event in ready.audit.list()].count(Action.HEAD_REGISTER) == 1


def test_heads_are_listed_by_consumer_and_by_version(ready: Registry) -> None:
    ready.consumers.add("search", "team")
    one, two = ready.heads.register(new_head()), ready.heads.register(new_head("autoencoder-2"))
    other = ready.heads.register(new_head(consumer="search"))
    assert ready.heads.list("ads") == [one, two]
    assert ready.heads.list("ads", "autoencoder-2") == [two]
    assert ready.heads.list("search") == [other]
    with pytest.raises(NotFound, match="no consumer 'adz'; known: ads, search"):
        ready.heads.list("adz")
    with pytest.raises(NotFound, match="no version 'autoencoder-9'"):
        ready.heads.list("ads", "autoencoder-9")


def test_a_head_on_other_vectors_is_refused_with_both_fingerprints(ready: Registry) -> None:
    with pytest.raises(FingerprintMismatch, match=r"autoencoder-1 has .*-of-run-1, .* vectors of fingerprint-of-run-2"):
        ready.heads.register(new_head(fingerprint="fingerprint-of-run-2"))
    assert ready.heads.list("ads") == []


def test_what_is_unknown_has_no_heads(ready: Registry) -> None:
    with pytest.raises(NotFound, match="no version 'autoencoder-9'"):
        ready.heads.register(new_head("autoencoder-9"))
    with pytest.raises(NotFound, match="no consumer 'adz'"):
        ready.heads.register(new_head(consumer="adz"))


def test_only_a_live_version_gets_heads_but_a_gone_one_keeps_them(ready: Registry) -> None:
    kept = [ready.heads.register(new_head()), ready.heads.register(new_head("autoencoder-2"))]
    ready.versions.fail("autoencoder-2", "diverged")
    with pytest.raises(Conflict, match="autoencoder-2 is failed: train a head on a live version"):
        ready.heads.register(new_head("autoencoder-2", location="s3://heads/2"))
    ready.retirements.begin("autoencoder-1")
    for state in ("retiring", "retired"):
        with pytest.raises(Conflict, match=f"autoencoder-1 is {state}: train a head on a live version"):
            ready.heads.register(new_head())
        ready.retirements.finish("autoencoder-1")
    assert ready.heads.list("ads") == kept


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": ""}, "task is empty"),
        ({"data_stamp": "d" * 129}, "data_stamp has 129 characters"),
        ({"location": "a\x00b"}, "location .* cannot be printed"),
        ({"fingerprint": " "}, "fingerprint is empty"),
        ({"metrics": {"auc": float("nan")}}, "metric auc is nan"),
        ({"metrics": {"": 0.5}}, "metric is empty"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_value(fields: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        new_head(**fields)


def test_texts_are_kept_without_the_blanks_around_them(ready: Registry) -> None:
    head = ready.heads.register(new_head(task=" churn ", location=" s3://heads/1\n"))
    assert (head.task, head.location) == ("churn", "s3://heads/1")
    assert ready.heads.register(new_head(task="churn")) == head


def test_a_time_without_zone_is_refused(ready: Registry) -> None:
    with pytest.raises(InvalidInput, match="no time zone"):
        ready.heads.register(replace(new_head(), as_of=datetime(2011, 6, 10)))
    assert ready.heads.list("ads") == []
