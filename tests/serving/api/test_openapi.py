"""The OpenAPI document: requests that it allows get the answers that it promises, and never a 500."""

import shutil
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import Mock

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
from tests.serving.twin_source import key, secret
from tests.serving.twins import Twins, keep_keys, twins

OPS, READER = key("0000000a", "ops", "administer"), key("0000000b", "reader", "embeddings:read=ranker")
KNOWN = {"consumer": "ranker", "version": "autoencoder-1", "other": "autoencoder-2", "id": READER.id}
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
USERS = {
    # A whole number is taken as text, and an id that nobody can have costs itself alone.
    "negative_data_rejection": {"expected-statuses": [200, 400, 401, 403, 404, 409, 413, 422]},
}
CONFIG = {
    "checks": STATUSES,
    "operations": [
        {"include-path-regex": "^/v1/(events|users|items)$", "checks": RECORDS},
        {"include-path-regex": "/embeddings$", "include-method": "POST", "checks": {**STATUSES, **USERS}},
    ],
}


class Gateway:
    """The application that the tests ask, which a fixture makes: the document alone makes the tests."""

    app: FastAPI

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def schema_of(gateway: Gateway, keys: bool) -> schemathesis.BaseSchema:
    document = deepcopy(app.openapi())
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        if not keys:  # which is what the document says of a gateway that has none
            operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(CONFIG))
    schema.app = gateway
    return schema


app = create_app(Mock(), Mock(), Mock(), SETTINGS)  # which has the document, and is asked for nothing else
open_gateway, keyed_gateway = Gateway(), Gateway()
without_keys, with_keys = schema_of(open_gateway, keys=False), schema_of(keyed_gateway, keys=True)
some = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True, scope="module")
def open_twins(populated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A gateway without keys."""
    made = twins(shutil.copyfile(populated_file, tmp_path_factory.mktemp("open") / "registry.db"))
    open_gateway.app = create_app(made.pool, made.operations, made.arrivals, SETTINGS)
    yield made
    made.close()


@pytest.fixture(autouse=True, scope="module")
def keyed_twins(populated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A gateway with keys, whose consumer `ranker` has a canary."""
    made = twins(shutil.copyfile(populated_file, tmp_path_factory.mktemp("keyed") / "registry.db"))
    keep_keys(made.registry, OPS)
    made.promote("ranker", "autoencoder-2", canary_share=0.25)
    keyed_gateway.app = create_app(made.pool, made.operations, made.arrivals, SETTINGS)
    yield made
    made.close()


@without_keys.parametrize()
@some
def test_whatever_the_document_allows_is_answered_as_it_promises(case: schemathesis.Case) -> None:
    case.call_and_validate()


@with_keys.parametrize()
@some
def test_known_names_and_a_key_too(case: schemathesis.Case, keyed_twins: Twins) -> None:
    case.path_parameters |= {name: value for name, value in KNOWN.items() if name in case.path_parameters}
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict) and "version" in case.body:
        case.body["version"] = "autoencoder-2"
    if "id" in case.path_parameters:
        keep_keys(keyed_twins.registry, READER)  # whom the case before has revoked
    wrong_header = case.meta.is_negative_at(ParameterLocation.HEADER)
    headers = None if wrong_header else {"Authorization": f"Bearer {secret(OPS.id)}"}
    case.call_and_validate(headers=headers)


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
