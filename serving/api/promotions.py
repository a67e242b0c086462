"""Routes of promotions, canaries, rollback and their history."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from portrait.registry.records.grants import Scope
from portrait.registry.records.records import Promotion
from portrait.registry.registry import Registry
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.api.requests import CanaryAbort, CanaryEnd, Moment, NewPromotion, NewRollback
from portrait.serving.api.responses import DryRunAnswer, PromotionAnswer, VerdictAnswer
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import problem_responses
from portrait.serving.operations.operations import Operations

TAG = "promotions"
At = Annotated[Moment | None, Query(description="Up to this time only: the last one says what was read then.")]
CHANGES = problem_responses(400, 404, 409, 413, 422)


def reading(guard: Guard, registry: Registry, threads: BoundedThreads) -> APIRouter:
    """The route of the history, for any key."""
    routes = guard.router(None, TAG)

    @routes.get("/consumers/{consumer}/history", responses=problem_responses(400, 404))
    async def history(
        consumer: str,
        at: Annotated[
            Moment | None, Query(description="Only up to this time: the last says what was read then.")
        ] = None,
    ) -> list[PromotionAnswer]:
        """Changes of a consumer's assignment, oldest first."""
        promotions = await threads.run(lambda: registry.promotions.history(consumer, at))
        return [PromotionAnswer.model_validate(promotion) for promotion in promotions]

    return routes


def changing(guard: Guard, operations: Operations, threads: BoundedThreads) -> APIRouter:
    """Routes of promotions, canaries and rollbacks, for keys that may promote the consumer."""
    routes = guard.router(Scope.PROMOTE, TAG)

    @routes.post(
        "/consumers/{consumer}/promotions",
        status_code=201,
        responses={200: {"model": DryRunAnswer, "description": "The dry run"}, **CHANGES},
    )
    async def promote(
        consumer: str, body: NewPromotion, actor: Actor, response: Response
    ) -> PromotionAnswer | DryRunAnswer:
        """Let the consumer, or a share of its users as a canary, read a version if the gates accept it."""
        if body.dry_run:
            response.status_code = 200
            return await threads.run(lambda: _dry_run(operations, consumer, body))
        return PromotionAnswer.model_validate(await threads.run(lambda: _promote(operations, actor, consumer, body)))

    @routes.post("/consumers/{consumer}/rollback", status_code=201, responses=CHANGES)
    async def rollback(consumer: str, body: NewRollback, actor: Actor) -> PromotionAnswer:
        """Go back to the version before the last stable promotion; an open canary ends. No data moves."""
        promotion = await threads.run(
            lambda: operations.rollback(actor, consumer, body.reason, body.force, body.expected_revision)
        )
        return PromotionAnswer.model_validate(promotion)

    @routes.post("/consumers/{consumer}/canary", status_code=201, responses=CHANGES)
    async def end_canary(consumer: str, body: CanaryEnd, actor: Actor) -> PromotionAnswer:
        """Finish the canary, if the gates accept it once more, or abort it."""
        promotion = await threads.run(lambda: _end_canary(operations, actor, consumer, body))
        return PromotionAnswer.model_validate(promotion)

    return routes


def _dry_run(operations: Operations, consumer: str, body: NewPromotion) -> DryRunAnswer:
    verdicts = operations.check(consumer, body.version, body.canary_share)
    gates = [VerdictAnswer.model_validate(verdict) for verdict in verdicts]
    return DryRunAnswer(passes=all(verdict.accepted for verdict in verdicts), gates=gates)


def _promote(operations: Operations, actor: str, consumer: str, body: NewPromotion) -> Promotion:
    return operations.promote(
        actor, consumer, body.version, body.reason, body.canary_share, body.force, body.expected_revision
    )


def _end_canary(operations: Operations, actor: str, consumer: str, body: CanaryEnd) -> Promotion:
    if isinstance(body, CanaryAbort):
        promotions = operations.registry.acting(actor).promotions
        return promotions.abort_canary(consumer, body.reason, expected_revision=body.expected_revision)
    return operations.finish_canary(actor, consumer, body.reason, body.force, body.expected_revision)
