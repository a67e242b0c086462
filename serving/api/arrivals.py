"""Routes that take events, users and items: plain Starlette, as they are hot; `documentation` describes them."""

import asyncio

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portrait.feature_repo.log.manifest import SegmentKind
from portrait.registry.records.grants import Scope
from portrait.serving.api.guard import Guard
from portrait.serving.api.lenient_json import lenient_json, printable
from portrait.serving.api.requests import body_within, require_json
from portrait.serving.arrivals.arrivals import ArrivalReceipt, ArrivalRejection, Arrivals
from portrait.serving.http import problems
from portrait.serving.http.metrics import GatewayMetrics

MOST = 1_000
"""Records in one request."""

MAX_BODY = 8 * 1024 * 1024
SMALLER = "send them in several requests"


def path_of(kind: SegmentKind) -> str:
    """The path that takes records of this kind."""
    return f"/v1/{kind}"


def routes(arrivals: Arrivals, guard: Guard, metrics: GatewayMetrics) -> list[Route]:
    """The routes `POST /v1/events`, `/v1/users` and `/v1/items`."""
    return [_route(kind, arrivals, guard, metrics) for kind in SegmentKind]


def _route(kind: SegmentKind, arrivals: Arrivals, guard: Guard, metrics: GatewayMetrics) -> Route:
    path = path_of(kind)

    async def take(request: Request) -> Response:
        guard.admit(request, Scope.EVENTS, path)
        require_json(request)
        records = _records(await _parse(await body_within(request, MAX_BODY, SMALLER)))
        receipt = await arrivals.take(kind, records)
        metrics.took(kind, receipt.outcomes)
        return _answer(receipt, len(records))

    take.__name__ = f"post_{kind}"  # the endpoint's name in the metrics
    return Route(path, take, methods=["POST"])


async def _parse(body: bytes) -> object:
    """The body's JSON; what one record may not have, and costs that record alone, is still read."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            return await asyncio.to_thread(lenient_json, body)  # slow
        except (ValueError, RecursionError):
            raise problems.MalformedBody(f"the body is not JSON: {error}") from error


def _records(parsed: object) -> list[object]:
    if type(parsed) is dict:
        return [parsed]
    if type(parsed) is not list or not parsed:
        raise problems.MalformedBody("the body is neither a JSON object nor an array of some")
    if len(parsed) > MOST:
        raise problems.TooLarge(f"{len(parsed):,} records", MOST, "records", SMALLER)
    return parsed


def _answer(receipt: ArrivalReceipt, sent: int) -> Response:
    rejected = [_rejection_json(one) for one in receipt.rejected]
    if len(rejected) == sent:
        what = "the record is" if sent == 1 else f"all {sent:,} records are"
        raise problems.AllRejected(f"{what} rejected: {rejected[0]['reason']}", rejected)
    body = {
        "accepted": receipt.accepted,
        "known": receipt.known,
        "clamped": receipt.clamped,
        "rejected": rejected,
    }
    return Response(orjson.dumps(body), 202, media_type="application/json")


def _rejection_json(one: ArrivalRejection) -> dict[str, object]:
    return {"index": one.index, "reason": printable(one.reason)}  # it may name a field that is no Unicode
