"""The OpenAPI document: requests that it allows get the answers that it promises, and never a 500."""

import warnings
from collections.abc import Iterator
from copy import deepcopy

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies' own deprecations
    import schemathesis
    from schemathesis.core.parameters import ParameterLocation
from hypothesis import HealthCheck, settings

from portrait.serving.gateway.app import create_app
from tests.serving.conftest import SETTINGS
from tests.serving.twin_operations import TwinOperations, key, secret
from tests.serving.twins import Twins, twins

open_twins, keyed_twins = twins(), twins()
keyed_twins.source.keys["a"] = key("a", "ops", "administer")
keyed_twins.source.try_out("ranker", "autoencoder-2", 0.25)
keyed_twins.reader.assignments.refresh()
KNOWN = {"consumer": "ranker", "version": "autoencoder-1", "other": "autoencoder-2", "id": "b"}
STATUSES = {
    # Beyond its own list, 413 is how too many users are refused, and 401 and 403 come before anything is looked at.
    "negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 405, 409, 413, 422]},
    # 400 is for what no schema says, such as an owner of blanks only.
    "positive_data_acceptance": {"expected-statuses": ["2xx", 400, 401, 403, 404, 409]},
}
RECORDS = {
    # Each record is judged by itself and by more than its schema (a time in the future); a good one among bad ones is
    # taken in, and so is a blank in the place of a null.
    "negative_data_rejection": {"expected-statuses": [202, 401, 403, 413, 422]},
    "positive_data_acceptance": {"expected-statuses": [202, 401, 403, 422]},
}
CONFIG = {
    "checks": STATUSES,
    "operations": [{"include-path-regex": "^/v1/(events|users|items)$", "checks": RECORDS}],
}


def app_over(made: Twins) -> FastAPI:
    return create_app(made.pool, TwinOperations(made.source), made.arrivals, SETTINGS)


def schema_of(app: FastAPI, keys: bool) -> schemathesis.BaseSchema:
    document = deepcopy(app.openapi())
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        if not keys:  # which is what the document says of a gateway that has none
            operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(CONFIG))
    schema.app = app
    return schema


app = app_over(open_twins)
without_keys, with_keys = schema_of(app, keys=False), schema_of(app_over(keyed_twins), keys=True)
some = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@without_keys.parametrize()
@some
def test_whatever_the_document_allows_is_answered_as_it_promises(case: schemathesis.Case) -> None:
    case.call_and_validate()


@with_keys.parametrize()
@some
def test_known_names_and_a_key_too(case: schemathesis.Case) -> None:
    case.path_parameters |= {name: value for name, value in KNOWN.items() if name in case.path_parameters}
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict) and "version" in case.body:
        case.body["version"] = "autoencoder-2"
    keyed_twins.source.keys["b"] = key("b", "reader", "embeddings:read=ranker")
    wrong_header = case.meta.is_negative_at(ParameterLocation.HEADER)
    case.call_and_validate(headers=None if wrong_header else {"Authorization": f"Bearer {secret('a')}"})


def test_the_document_names_every_route_and_status() -> None:
    with TestClient(app) as client:
        paths = client.get("/openapi.json").json()["paths"]
    single = "/v1/consumers/{consumer}/embeddings/{user}"
    batch = "/v1/consumers/{consumer}/embeddings"
    assert set(paths[batch]) == {"get", "post"}
    read = {"200", "400", "401", "403", "404", "409", "503"}
    assert set(paths[single]["get"]["responses"]) == read
    assert set(paths[batch]["post"]["responses"]) == read | {"413", "422"}
    assert set(paths["/v1/events"]["post"]["responses"]) == {"202", "401", "403", "413", "422", "503"}
    assert {"/v1/users", "/v1/items"} < set(paths)
    assert {"/healthz", "/readyz", "/metrics", "/v1/versions", "/v1/consumers/{consumer}/history"} < set(paths)
    problem = paths[batch]["post"]["responses"]["413"]["content"]
    assert list(problem) == ["application/problem+json"]


def test_every_operation_under_v1_names_its_scope() -> None:
    operations = {
        (method, path): operation
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }
    for (_, path), operation in operations.items():
        assert ("security" in operation) == path.startswith("/v1/")
    scopes = {key: operation["security"] for key, operation in operations.items() if "security" in operation}
    assert scopes["get", "/v1/consumers/{consumer}/embeddings"] == [{"api_key": ["embeddings:read"]}]
    assert scopes["post", "/v1/consumers/{consumer}/promotions"] == [{"api_key": ["consumers:promote"]}]
    assert scopes["post", "/v1/events"] == scopes["post", "/v1/users"] == [{"api_key": ["events:write"]}]
    assert scopes["delete", "/v1/keys/{id}"] == [{"api_key": ["administer"]}]
    assert scopes["get", "/v1/versions"] == [{"api_key": []}]
    assert app.openapi()["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    open_twins.close()
    keyed_twins.close()
