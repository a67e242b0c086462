"""The gateway's empty twin: the same Serve options and kind of route around a handler that does nothing."""

from fastapi import FastAPI
from ray import serve
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portrait.serving.http.hot_requests import ShortcutApp
from portrait.serving.http.metrics import GatewayMetrics
from portrait.serving.settings import ServingSettings

PREFIX = "/empty"
PATH = f"{PREFIX}/user"
ANSWER = b"{}"


@serve.ingress()
class Empty:
    """A replica that answers `{}`."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application that Serve mounts."""
        return create_app()


def create_app() -> FastAPI:
    """The gateway's kind of application; its one endpoint is hot, as those for embeddings are."""

    async def empty(_: Request) -> Response:
        return Response(ANSWER, media_type="application/json")

    app = ShortcutApp(lambda scope: empty if scope["type"] == "http" else None, GatewayMetrics())
    app.router.routes.insert(0, Route("/{rest:path}", empty))
    return app


def deploy(settings: ServingSettings, environment: dict[str, str]) -> None:
    """Start it beside a gateway that runs already, under PREFIX of the same address."""
    deployment = serve.deployment(
        Empty,
        name="empty",
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": environment}},
        logging_config={"enable_access_log": False},
    )
    serve.run(deployment.bind(), name="empty", route_prefix=PREFIX)
