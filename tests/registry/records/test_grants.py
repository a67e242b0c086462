"""Grants of a key: each scope, for the consumer that it names or for any."""

import pytest

from portrait.registry.errors import InvalidInput
from portrait.registry.records.grants import Grant, Scope, known_grants

EVERYTHING = [
    Grant(Scope.READ, "ads"),
    Grant(Scope.READ, "*"),
    Grant(Scope.EVENTS),
    Grant(Scope.PROMOTE, "ads"),
    Grant(Scope.PROMOTE, "*"),
    Grant(Scope.ADMINISTER),
]


@pytest.mark.parametrize("grant", EVERYTHING, ids=str)
def test_a_grant_is_read_back_from_its_text(grant: Grant) -> None:
    assert Grant.parse(str(grant)) == grant
    assert known_grants([str(grant)]) == (grant,)


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("grant", EVERYTHING, ids=str)
def test_a_grant_reaches_its_own_scope_and_consumer_and_no_other(grant: Grant, scope: Scope) -> None:
    for consumer in ("ads", "search"):
        same_scope = grant.scope == scope and grant.consumer in (None, "*", consumer)
        assert grant.allows(scope, consumer) == (same_scope or grant.scope == Scope.ADMINISTER)


@pytest.mark.parametrize("scope", [Scope.READ, Scope.PROMOTE])
def test_the_grant_for_one_consumer_is_not_one_for_all(scope: Scope) -> None:
    assert not Grant(scope, "ads").allows(scope)
    assert not Grant(scope, "ads").allows(scope, "*")
    assert Grant(scope, "*").allows(scope, "ads")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("embeddings:read", "embeddings:read needs a consumer, or \\* for any"),
        ("consumers:promote=", "consumers:promote needs a consumer"),
        ("events:write=ads", "events:write is not for one consumer"),
        ("administer=ads", "administer is not for one consumer"),
        ("embeddings:write=ads", "no scope 'embeddings:write'; there are: embeddings:read, events:write"),
        ("", "no scope ''"),
    ],
)
def test_a_text_that_is_no_grant_is_refused_with_what_there_is(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Grant.parse(text)


def test_what_newer_code_has_granted_allows_nothing_and_breaks_nothing() -> None:
    assert known_grants(["models:train=ads", "events:write", "embeddings:read"]) == (Grant(Scope.EVENTS),)
