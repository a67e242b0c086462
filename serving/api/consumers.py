"""Routes of consumers: reads come from memory, changes go to the registry."""

from fastapi import APIRouter

from portrait.registry.records.grants import Scope
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.api.requests import ConsumerChange, NewConsumer
from portrait.serving.api.responses import AssignedConsumerAnswer, AssignmentAnswer, ConsumerAnswer
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import problem_responses
from portrait.serving.state.assignment_poller import Assignments, known_consumer

TAG = "consumers"


def reading(guard: Guard, assignments: Assignments) -> APIRouter:
    """Routes for any key; their answers trail a change by at most the polling interval."""
    routes = guard.router(None, TAG)

    @routes.get("/consumers")
    async def consumers() -> list[AssignedConsumerAnswer]:
        """All consumers, each with its assignment."""
        state = assignments.state
        return [_answer(state, name) for name in sorted(state.consumers)]

    @routes.get("/consumers/{consumer}", responses=problem_responses(404))
    async def consumer(consumer: str) -> AssignedConsumerAnswer:
        """One consumer with its assignment."""
        return _answer(assignments.state, consumer)

    return routes


def changing(guard: Guard, registry: Registry, threads: BoundedThreads) -> APIRouter:
    """Routes that change consumers, for administrators."""
    routes = guard.router(Scope.ADMINISTER, TAG)

    @routes.post("/consumers", status_code=201, responses=problem_responses(400, 409, 413, 422))
    async def add_consumer(body: NewConsumer, actor: Actor) -> ConsumerAnswer:
        """Add a consumer; the same again changes nothing."""
        gates = body.gates.model_dump(exclude_none=True)
        made = await threads.run(
            lambda: registry.acting(actor).consumers.add(
                body.name, body.owner, body.task, gates, body.wants_head, body.max_age_seconds
            )
        )
        return ConsumerAnswer.model_validate(made)

    @routes.patch("/consumers/{consumer}", responses=problem_responses(400, 404, 409, 413, 422))
    async def set_consumer(consumer: str, body: ConsumerChange, actor: Actor) -> ConsumerAnswer:
        """Change the owner, the task, gate settings, whether a head is required, or how old vectors may be."""
        gates = body.gates.model_dump(exclude_unset=True) if body.gates else {}
        changed = await threads.run(
            lambda: registry.acting(actor).consumers.set(
                consumer, body.owner, body.task, gates, body.wants_head, body.max_age_seconds
            )
        )
        return ConsumerAnswer.model_validate(changed)

    return routes


def _answer(state: ServingState, name: str) -> AssignedConsumerAnswer:
    answer = AssignedConsumerAnswer.model_validate(known_consumer(state, name))
    assignment = state.assignments.get(name)
    answer.assignment = AssignmentAnswer.model_validate(assignment) if assignment else None
    return answer
