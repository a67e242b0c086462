"""API keys: shown once, known by their digest, worthless once revoked."""

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from portrait.registry.access.keys import find_key
from portrait.registry.database.tables import ApiKeyRow
from portrait.registry.errors import InvalidInput, NotFound
from portrait.registry.records.grants import Grant, Scope
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, read_state

EVENTS = Grant(Scope.EVENTS)


def test_a_key_is_256_random_bits_under_its_id(registry: Registry) -> None:
    made = [registry.acting("ada").keys.add(" ingest ", [EVENTS]) for _ in range(3)]
    for key, secret in made:
        assert re.fullmatch(rf"portrait_{key.id}_[A-Za-z0-9_-]{{43}}", secret)
        assert re.fullmatch(r"[0-9a-f]{8}", key.id)
        assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest()
        assert (key.name, key.grants, key.created_by, key.revoked_at) == ("ingest", (EVENTS,), "ada", None)
        assert abs(key.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert len({secret[18:] for _, secret in made}) == 3
    assert registry.keys.list() == [key for key, _ in made]


def test_the_database_holds_nothing_of_a_key_but_its_digest(registry: Registry) -> None:
    key, secret = registry.keys.add("ingest", [EVENTS])
    with registry.database.reading() as session:
        stored = session.execute(text("SELECT * FROM api_keys")).one()
    assert secret.split("_", 2)[2] not in repr(stored)
    assert key.sha256 in stored


def test_a_key_is_found_by_its_text_until_it_is_revoked(registry: Registry) -> None:
    key, secret = registry.keys.add("ingest", [EVENTS])
    other, other_secret = registry.keys.add("ranker", [Grant(Scope.READ, "*")])
    keys = read_state(registry.database).keys
    assert find_key(keys, secret) == key
    assert find_key(keys, other_secret) == other
    registry.keys.revoke(key.id)
    keys = read_state(registry.database).keys
    assert find_key(keys, secret) is None
    assert find_key(keys, other_secret) == other


def test_nothing_but_the_whole_text_finds_a_key(registry: Registry) -> None:
    key, secret = registry.keys.add("ingest", [EVENTS])
    other, other_secret = registry.keys.add("other", [EVENTS])
    keys = {key.id: key, other.id: other}
    last = "A" if secret[-1] != "A" else "B"
    wrong = [
        "",
        "_",
        "__",
        key.id,
        key.sha256,
        f"portrait_{key.id}_",
        f"portrait_{key.id}_{key.sha256}",
        secret[:-1],
        secret[:-1] + last,
        secret + " ",
        secret.upper(),
        secret.replace(key.id, other.id),
        f"portrait_{key.id}_{other_secret[18:]}",
        f"{secret}\x00",
        "portrait_\ud800_\ud800",
        "ключ_ключ_ключ",
        "x" * 100_000,
    ]
    assert [find_key(keys, presented) for presented in wrong] == [None] * len(wrong)
    assert find_key({}, secret) is None
    assert find_key(keys, secret) == key


def test_an_unknown_id_takes_a_comparison_too(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of the code is the same for an unknown key, a wrong one and a revoked one."""
    key, secret = registry.keys.add("ingest", [EVENTS])
    compared: list[tuple[str, str]] = []

    def compare(a: str, b: str) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("portrait.registry.access.keys.hmac.compare_digest", compare)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert find_key({}, secret) is None
    assert find_key({key.id: replace(key, sha256="0" * 64)}, secret) is None
    assert find_key({key.id: replace(key, revoked_at=key.created_at)}, secret) is None
    assert [a for a, _ in compared] == [digest] * 3
    assert all(len(b) == 64 for _, b in compared)


def test_gateways_hear_of_new_and_of_revoked_keys(registry: Registry) -> None:
    before = read_generation(registry.database)
    key, _ = registry.keys.add("ingest", [EVENTS])
    state = read_state(registry.database)
    assert (state.generation, state.keys) == (before + 1, {key.id: key})
    revoked = registry.keys.revoke(key.id)
    state = read_state(registry.database)
    assert (state.generation, state.keys) == (before + 2, {key.id: revoked})
    assert revoked == replace(key, revoked_at=revoked.revoked_at) and revoked.revoked_at is not None
    assert registry.keys.revoke(key.id) == revoked
    assert read_generation(registry.database) == before + 2


def test_grants_name_consumers_that_there_are(registry: Registry) -> None:
    registry.consumers.add("ads", "team")
    read, promote, any_ = Grant(Scope.READ, "ads"), Grant(Scope.PROMOTE, "ads"), Grant(Scope.READ, "*")
    key, _ = registry.keys.add("ads", [read, promote, any_, read])
    assert key.grants == (read, promote, any_)
    with pytest.raises(NotFound, match="no consumer 'adz'; known: ads"):
        registry.keys.add("ads", [read, Grant(Scope.PROMOTE, "adz")])
    assert registry.keys.list() == [key]


def test_a_key_without_a_name_or_a_grant_is_refused(registry: Registry) -> None:
    before = read_generation(registry.database)
    refused: list[tuple[str, list[Grant], str]] = [
        ("", [EVENTS], "name of the key is empty"),
        ("n" * 65, [EVENTS], "name of the key has 65 characters"),
        ("a\x00b", [EVENTS], "cannot be printed"),
        ("ingest", [], "a key without a grant can do nothing"),
    ]
    for name, grants, message in refused:
        with pytest.raises(InvalidInput, match=message):
            registry.keys.add(name, grants)
    assert (registry.keys.list(), read_generation(registry.database)) == ([], before)


def test_an_unknown_key_cannot_be_revoked_and_is_not_repeated(registry: Registry) -> None:
    for id in ("0badc0de", "", "0BADC0DE", "a\x00bcdefg", "portrait_0badc0de_secret"):
        with pytest.raises(NotFound, match="`portrait keys list` shows the ids") as refusal:
            registry.keys.revoke(id)
        assert "secret" not in str(refusal.value)


def test_neither_text_nor_digest_is_shown_with_a_record(registry: Registry) -> None:
    key, secret = registry.keys.add("ingest", [EVENTS])
    with registry.database.reading() as session:
        row = session.scalars(select(ApiKeyRow)).one()
    shown: list[Any] = [key, {key.id: key}, read_state(registry.database), row]
    for one in shown:
        for hidden in (secret, secret.split("_", 2)[2], key.sha256):
            assert hidden not in repr(one) + str(one)
    assert f"id='{key.id}'" in repr(key)
