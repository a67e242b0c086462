"""The OpenAPI document is true: whatever it allows is answered by what it promises, and nothing is a 500."""

import warnings

import pytest
from fastapi.testclient import TestClient

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies' own deprecations
    import schemathesis
from hypothesis import HealthCheck, settings

from serving.gateway import create_app
from tests.serving.conftest import SETTINGS
from tests.serving.twin_operations import TwinOperations
from tests.serving.twins import twins

made = twins()
app = create_app(made.pool, TwinOperations(made.source), SETTINGS)
# Beyond its own list, 413 is how too many users are refused.
rejected = {"negative_data_rejection": {"expected-statuses": [400, 404, 405, 409, 413, 422]}}
config = schemathesis.Config.from_dict({"checks": rejected})
schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_the_document_allows_is_answered_as_it_promises(case: schemathesis.Case) -> None:
    case.call_and_validate()


@schema.include(path_regex="embeddings").parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_known_consumers_too(case: schemathesis.Case) -> None:
    case.path_parameters["consumer"] = "ranker"
    case.call_and_validate()


def test_the_document_names_every_route_and_status() -> None:
    with TestClient(app) as client:
        paths = client.get("/openapi.json").json()["paths"]
    single = "/v1/consumers/{consumer}/embeddings/{user}"
    batch = "/v1/consumers/{consumer}/embeddings"
    assert set(paths[batch]) == {"get", "post"}
    assert set(paths[single]["get"]["responses"]) == {"200", "400", "404", "409", "503"}
    assert set(paths[batch]["post"]["responses"]) == {"200", "400", "404", "409", "413", "422", "503"}
    assert {"/healthz", "/readyz", "/metrics", "/v1/versions", "/v1/consumers/{consumer}/history"} < set(paths)
    problem = paths[batch]["post"]["responses"]["413"]["content"]
    assert list(problem) == ["application/problem+json"]


@pytest.fixture(autouse=True, scope="module")
def _close() -> object:
    yield
    made.pool.close()
