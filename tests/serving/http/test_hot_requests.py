"""Hot requests: the shortcut past FastAPI changes their speed and nothing else."""

import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient
from ray.serve._private.constants import SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER
from ray.serve._private.http_util import parse_disconnect_disabled_header
from ray.serve._private.utils import call_function_from_import_path

from portrait.serving.gateway.app import create_app
from portrait.serving.gateway.disconnect_watch import UNWATCHED, NoDisconnectWatch
from portrait.serving.gateway.serve_environment import serve_environment
from portrait.serving.http.hot_requests import ShortcutApp
from portrait.serving.reads.answers import ARROW
from portrait.serving.settings import ServingSettings
from tests.serving.conftest import SETTINGS
from tests.serving.twins import ODD_VECTOR, Twins

BASE = "/v1/consumers/ranker/embeddings"
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", f"{BASE}/ada", {}),
    ("GET", f"{BASE}/ada", {"headers": {"Accept": ARROW}}),
    ("GET", f"{BASE}/a%2Fb%0A", {}),
    ("GET", f"{BASE}/bob?strict=true", {}),
    ("GET", f"{BASE}/nobody?strict=true", {}),
    ("GET", f"{BASE}/", {}),
    ("GET", f"{BASE}?user=ada&user=bob", {}),
    ("GET", BASE, {}),
    ("POST", BASE, {"json": {"users": ["ada", "nobody"]}}),
    ("POST", BASE, {"content": b"{"}),
    ("POST", f"{BASE}/ada", {}),
    ("HEAD", f"{BASE}/ada", {}),
    ("DELETE", BASE, {}),
    ("GET", "/v1/consumers//embeddings/ada", {}),
    ("GET", "/v1/consumers/nobody/embeddings/ada", {}),
    ("GET", "/v1/consumers/ranker/embeddingsada", {}),
]


def long_way(app: ShortcutApp) -> ShortcutApp:
    app._find = lambda scope: None
    return app


def asked(client: TestClient, method: str, path: str, options: dict[str, Any]) -> tuple[Any, ...]:
    answer = client.request(method, path, **options)
    body: Any = answer.content
    if answer.headers["content-type"] == "application/json" and body:
        rows = answer.json()
        for row in rows.get("embeddings", [rows]):
            row.pop("age_seconds")
        body = rows
    elif answer.headers["content-type"] == ARROW:
        body = len(body)  # the age is in it
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return answer.status_code, headers, body


def test_both_ways_lead_to_the_same_answer(parts: Twins) -> None:
    apps = [create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS) for _ in range(2)]
    with TestClient(apps[0]) as short, TestClient(long_way(apps[1])) as long:
        for request in REQUESTS:
            assert asked(short, *request) == asked(long, *request), request
    statuses = {asked(short, *request)[0] for request in REQUESTS}
    assert statuses == {200, 400, 404, 405, 422}


def test_the_shortcut_is_taken(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.app, "middleware_stack", None)
    monkeypatch.setattr(http.app, "build_middleware_stack", lambda: pytest.fail("the long way"))
    assert http.get(f"{BASE}/ada").status_code == 200
    assert http.get(f"{BASE}?user=ada").status_code == 200
    assert http.post(BASE, json={"users": ["ada"]}).status_code == 200


def test_a_consumer_may_be_named_as_the_path_is(http: TestClient, parts: Twins) -> None:
    parts.registry.consumers.add("embeddings", "team")
    parts.promote("embeddings", "autoencoder-1")
    answer = http.get("/v1/consumers/embeddings/embeddings/ada").json()
    assert answer["user_id"] == "ada" and len(answer["vector"]) == len(ODD_VECTOR)


def test_a_mounted_application_reads_its_own_part_of_the_path(parts: Twins) -> None:
    app = create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)
    with TestClient(app, root_path="/portrait") as client:
        assert client.get(f"/portrait{BASE}/ada").json()["user_id"] == "ada"


def test_serve_is_asked_not_to_watch_those_that_send_nothing() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]))

    async def run() -> None:
        for method in ("GET", "POST"):
            await NoDisconnectWatch(app)({"type": "http", "method": method, "headers": [(b"host", b"x")]}, None, None)  # type: ignore[arg-type]

    asyncio.run(run())
    assert [parse_disconnect_disabled_header(headers) for headers in seen] == [True, False]
    assert UNWATCHED[0].decode() == SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER


def test_serve_finds_what_it_is_to_put_before_the_replicas() -> None:
    named = serve_environment(ServingSettings())["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
    (middleware,) = call_function_from_import_path(named)
    assert middleware.cls is NoDisconnectWatch


def test_a_proxy_may_serve_it_below_a_path(parts: Twins) -> None:
    """Whether the proxy cuts the path off or not; the documentation finds its document there."""
    app = create_app(parts.pool, parts.operations, parts.arrivals, ServingSettings(path_prefix="/teams/portrait"))
    with TestClient(app, raise_server_exceptions=False) as http:
        plain = http.get(f"{BASE}/ada")
        assert plain.status_code == 200
        for prefix in ("/teams/portrait", ""):
            assert http.get(f"{prefix}{BASE}/ada").json()["vector"] == plain.json()["vector"]
            assert http.get(f"{prefix}/v1/consumers").status_code == 200
            assert http.get(f"{prefix}/healthz").json() == {"status": "ok"}
            assert '"/teams/portrait/openapi.json"' in http.get(f"{prefix}/docs").text.replace("'", '"')
        for wrong in ("/teams/portraits", "/portrait", "/teams/portrait/teams/portrait"):
            assert http.get(f"{wrong}{BASE}/ada").status_code == 404
            assert http.get(f"{wrong}/v1/consumers").status_code == 404
