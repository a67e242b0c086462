"""The guard of the API: every caller under /v1 is let in before a route runs and before a body is read."""

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter
from starlette.requests import Request
from starlette.responses import Response

from portrait.registry.access.audit import Action
from portrait.registry.errors import AccessDenied, Unavailable
from portrait.registry.records.grants import Scope
from portrait.registry.registry import Registry
from portrait.serving.api.requests import BoundedRequest
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.access import ANONYMOUS, Access, bearer
from portrait.serving.http.problems import problem_responses

log = logging.getLogger(__name__)

SCHEME = "api_key"
"""Name of the security scheme in the OpenAPI document."""

MAX_REFUSALS = 1000
"""Refused attempts that may wait for the audit; in a flood some are not audited, but all requests are answered."""

AUDITED_AT_ONCE, SECONDS_EACH = 1000, 10.0
"""Refused attempts that a gateway has the audit keep, and seconds until it keeps one more: a flood that lasts a year
stays below a gigabyte."""


class Allowance:
    """`most` things at once, and one more after each `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._left, self._at = float(most), time.monotonic()

    def take(self) -> bool:
        """Whether there is one left, which is then taken."""
        now = time.monotonic()
        self._left, self._at = min(self._most, self._left + (now - self._at) / self._seconds), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def security(scope: Scope | None) -> list[dict[str, list[str]]]:
    """The `security` of an operation in the OpenAPI document."""
    return [{SCHEME: [scope.value] if scope else []}]


def refusals() -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of callers who are not let in; 503 until the registry has answered once."""
    return problem_responses(401, 403, 503)


class Guard:
    """Lets requests in by their key and scope, and has the audit keep the refused ones."""

    def __init__(self, access: Access, registry: Registry, metrics: CollectorRegistry) -> None:
        self._access = access
        self._registry = registry
        self._audit = BoundedThreads("the audit", threads=1, limit=MAX_REFUSALS)
        self._allowance = Allowance(AUDITED_AT_ONCE, SECONDS_EACH)
        self._dropped = Counter(
            "portrait_refusals_dropped", "Refused attempts that were too many for the audit.", registry=metrics
        )

    def admit(self, request: Request, scope: Scope | None, path: str = "") -> str:
        """The name of the actor; raises Unauthenticated or Forbidden.

        `path` is that of the route, not of the request, so that no input of a caller gets into the audit.
        """
        actor = ANONYMOUS
        consumer = request.path_params.get("consumer")
        try:
            self._access.require_own_site(request.headers)
            caller = self._access.identify(bearer(request.headers.get("authorization")))
            actor = caller.name
            caller.require(scope, consumer)
        except AccessDenied as refusal:
            self._keep(actor, f"consumer {consumer}" if consumer else f"{request.method} {path}", refusal)
            raise
        return actor

    def require_own_site(self, request: Request) -> None:
        """Refuse web pages of other sites where no key is asked for: of routes that need none in any case."""
        self._access.require_own_site(request.headers)

    def router(self, scope: Scope | None, tag: str) -> APIRouter:
        """A router under /v1 whose routes all need the scope, for the consumer in their path if there is one."""
        return APIRouter(prefix="/v1", tags=[tag], route_class=_guarded_route_class(self, scope))

    def _keep(self, actor: str, subject: str, refusal: AccessDenied) -> None:
        if not self._allowance.take():
            self._dropped.inc()
            return
        try:
            self._audit.submit(lambda: self._registry.acting(actor).audit.refused(Action.ACCESS, subject, refusal))
        except Unavailable:
            self._dropped.inc()


def _guarded_route_class(guard: Guard, scope: Scope | None) -> type[APIRoute]:
    class Guarded(APIRoute):
        """A route that lets its caller in first."""

        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            options["responses"] = {**(options.get("responses") or {}), **refusals()}
            options["openapi_extra"] = {"security": security(scope)}
            super().__init__(path, endpoint, **options)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def admitted(request: Request) -> Response:
                actor = guard.admit(request, scope, self.path)
                bounded = BoundedRequest(request.scope, request.receive)
                bounded.state.actor = actor
                if request.method in ("POST", "PATCH"):
                    await bounded.receive_json()
                return await handle(bounded)

            return admitted

    return Guarded


def _actor(request: Request) -> str:
    actor: str = request.state.actor
    return actor


Actor = Annotated[str, Depends(_actor)]
"""Parameter of an endpoint behind the guard: the name of the caller."""
