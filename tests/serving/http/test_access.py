"""Access: callers are let in by key, by scope, and without any key on this machine alone."""

import hmac
from dataclasses import replace

import pytest
from starlette.datastructures import Headers

from portrait.registry.errors import Forbidden, Unauthenticated, Unavailable
from portrait.registry.records.grants import Scope
from portrait.serving.http.access import ANONYMOUS, Access, bearer, is_loopback
from portrait.serving.settings import ServingSettings
from portrait.serving.state.assignment_poller import Assignments
from tests.serving.twin_source import TwinSource, key, secret

KEYS = (
    key("a0", "reader", "embeddings:read=ranker"),
    key("a1", "any reader", "embeddings:read=*"),
    key("a2", "promoter", "consumers:promote=ranker", "embeddings:read=search"),
    key("a3", "events", "events:write"),
    key("a4", "ops", "administer"),
    key("a5", "left", "administer", revoked=True),
)


def let_in(access: Access, presented: str | None, scope: Scope | None, consumer: str | None = None) -> str:
    """Name of the caller; raises as a request would."""
    caller = access.identify(presented)
    caller.require(scope, consumer)
    return caller.name


def access(*keys: object, **settings: object) -> Access:
    source = TwinSource(keys={key.id: key for key in keys})  # type: ignore[attr-defined]
    assignments = Assignments(source)
    assignments.refresh()
    return Access(assignments, ServingSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", [None, *Scope])
def test_without_keys_this_machine_may_do_everything(scope: Scope | None) -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert let_in(access(host=host), None, scope, "ranker") == ANONYMOUS
        assert let_in(access(host=host), "anything", scope) == ANONYMOUS


@pytest.mark.parametrize(
    "settings", [{"host": "0.0.0.0"}, {"host": "::"}, {"host": "gateway.internal"}, {"production": True}]
)
def test_without_keys_nobody_else_may_do_anything(settings: dict[str, object]) -> None:
    for presented in (None, "", secret("a4")):
        with pytest.raises(Unauthenticated, match="portrait keys add"):
            let_in(access(**settings), presented, None)


def test_a_key_table_emptied_while_running_closes_the_gateway() -> None:
    source = TwinSource(keys={"a4": KEYS[4]})
    assignments = Assignments(source)
    assignments.refresh()
    open_to_the_network = Access(assignments, ServingSettings(host="0.0.0.0"))
    assert let_in(open_to_the_network, secret("a4"), Scope.ADMINISTER) == "ops"
    source.keys.clear()
    source.number += 1
    assignments.refresh()
    with pytest.raises(Unauthenticated):
        let_in(open_to_the_network, secret("a4"), Scope.ADMINISTER)


def test_a_revoked_key_keeps_the_door_shut() -> None:
    guarded = access(KEYS[5])
    for presented in (None, secret("a5")):
        with pytest.raises(Unauthenticated):
            let_in(guarded, presented, None)


@pytest.mark.parametrize(
    "presented", [None, "", "x", secret("zz"), secret("a0")[:-1], secret("a0") + "x", "portrait_a0_", "é" * 50, "\x00"]
)
def test_what_is_no_key_is_refused_without_repeating_it(presented: str | None) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        let_in(access(*KEYS), presented, None)
    assert not presented or len(presented) < 2 or presented not in str(refusal.value)


EVERY = [(scope, consumer) for scope in Scope for consumer in ("ranker", "search", "nobody")]
REACH = {
    "a0": {(Scope.READ, "ranker")},
    "a1": {(Scope.READ, "ranker"), (Scope.READ, "search"), (Scope.READ, "nobody")},
    "a2": {(Scope.PROMOTE, "ranker"), (Scope.READ, "search")},
    "a3": {(Scope.EVENTS, "ranker"), (Scope.EVENTS, "search"), (Scope.EVENTS, "nobody")},
    "a4": set(EVERY),
}


@pytest.mark.parametrize("id", REACH)
def test_a_key_reaches_as_far_as_its_scopes_and_no_further(id: str) -> None:
    guarded = access(*KEYS)
    name = next(key.name for key in KEYS if key.id == id)
    assert let_in(guarded, secret(id), None) == name
    for scope, consumer in EVERY:
        if (scope, consumer) in REACH[id]:
            assert let_in(guarded, secret(id), scope, consumer) == name
        else:
            with pytest.raises(Forbidden, match=name):
                let_in(guarded, secret(id), scope, consumer)


def test_a_scope_for_one_consumer_is_none_for_no_consumer_or_for_a_star() -> None:
    for consumer in (None, "*", ""):
        with pytest.raises(Forbidden):
            let_in(access(*KEYS), secret("a0"), Scope.READ, consumer)


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def watched(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", watched)
    guarded = access(*KEYS)
    let_in(guarded, secret("a0"), None)
    for wrong in (secret("a0")[:-1] + "!", secret("zz"), "no key at all"):  # an id that is known, and two that are not
        with pytest.raises(Unauthenticated):
            let_in(guarded, wrong, None)
    assert len(compared) == 4
    assert all(secret("a0") not in pair for pair in compared)  # digests, never the text


def test_until_the_registry_has_answered_nobody_is_let_in() -> None:
    with pytest.raises(Unavailable):
        let_in(Access(Assignments(TwinSource()), ServingSettings()), None, None)


def test_a_key_of_another_registry_state_is_followed() -> None:
    source = TwinSource(keys={"a4": KEYS[4]})
    assignments = Assignments(source)
    assignments.refresh()
    guarded = Access(assignments, ServingSettings())
    source.keys["a4"] = replace(KEYS[4], revoked_at=KEYS[5].revoked_at)
    source.number += 1
    assignments.refresh()
    with pytest.raises(Unauthenticated):
        let_in(guarded, secret("a4"), None)


@pytest.mark.parametrize(
    ("header", "found"),
    [(None, None), ("", None), ("Bearer", ""), ("Bearer ", ""), ("Bearer k", "k"), ("bearer  k ", "k"),
     ("Basic k", None), ("k", None), ("Bearerk", None)],
)  # fmt: skip
def test_only_bearer_counts(header: str | None, found: str | None) -> None:
    assert bearer(header) == found


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil", "", "127.0.0.1.nip.io"])
def test_what_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


OWN_HOSTS = ("127.0.0.1:8000", "localhost", "LocalHost:9000", "localhost.:8000", "127.9.9.9", "[::1]:8000")
FOREIGN_HOSTS = (
    "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example:8000", "10.0.0.7:8000",
    "0.0.0.0:8000", "evil", "", "127.0.0.1@evil.example", "[::1", "[fe80::1]:8000", "localhost:8000 evil",
)  # fmt: skip


def headers(*given: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode()) for name, value in given])


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_without_keys_this_machine_is_asked_by_its_own_names(host: str) -> None:
    access().require_own_site(headers(("host", host)))
    access().require_own_site(headers(("host", host), ("origin", f"http://{host}")))
    access().require_own_site(headers())  # no browser leaves the host out


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_without_keys_a_name_that_resolves_to_this_machine_is_refused(host: str) -> None:
    for given in ([("host", host)], [("host", "localhost"), ("host", host)], [("host", host), ("host", "localhost")]):
        with pytest.raises(Forbidden, match="without API keys"):
            access().require_own_site(headers(*given))


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1",
        "http://127.0.0.1:9000",
        "http://localhost:8000",
        "file://",
    ],
)
def test_without_keys_a_page_of_another_site_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden, match="web page"):
        access().require_own_site(headers(("host", "127.0.0.1:8000"), ("origin", origin)))


def test_with_keys_any_name_of_the_gateway_is_served() -> None:
    access(*KEYS).require_own_site(headers(("host", "portrait.example"), ("origin", "https://portrait.example")))
    access(host="0.0.0.0").require_own_site(headers(("host", "portrait.example")))  # nobody is let in without a key
