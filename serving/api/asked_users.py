"""The users that a body asks for: an id that nobody can have costs itself alone."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from portrait.serving.api.lenient_json import lenient_json
from portrait.serving.api.schemas import EmbeddingsRequest
from portrait.serving.http.problems import MalformedBody

FORM = 'Send {"users": ["a", "b"], "strict": false}'


@dataclass(frozen=True)
class AskedUsers:
    """Users to look up, in the order asked for, and the ids between them that are none."""

    users: list[str]
    strict: bool
    rejected: Mapping[int, str] = field(default_factory=dict)  # the place in the body: the reason

    def __len__(self) -> int:
        return len(self.users) + len(self.rejected)


async def asked_users(body: bytes) -> AskedUsers:
    """The users that a body names; whole numbers are taken as text, as they are in events.

    Raises MalformedBody for what is not the documented object.
    """
    try:
        asked = EmbeddingsRequest.model_validate_json(body)
        return AskedUsers(asked.users, asked.strict)
    except ValidationError as error:
        return await asyncio.to_thread(_judge_ids, body, error)  # slow


def _judge_ids(body: bytes, error: ValidationError) -> AskedUsers:
    """The users of a body that is refused as a whole: each id by itself."""
    try:
        parsed = lenient_json(body)
    except (ValueError, RecursionError):
        raise _malformed_body(error) from error
    ids = parsed.get("users") if isinstance(parsed, dict) else None
    if not isinstance(ids, list):
        raise _malformed_body(error)
    try:
        strict = EmbeddingsRequest.model_validate({**parsed, "users": []}).strict  # type: ignore[dict-item]
    except ValidationError as further:
        raise _malformed_body(further) from further
    users, rejected = list[str](), dict[int, str]()
    for index, given in enumerate(ids):
        user = str(given) if type(given) is int else given
        reason = _fault(user)
        if reason is None:
            users.append(user)
        else:
            rejected[index] = reason
    return AskedUsers(users, strict, rejected)


def _fault(user: object) -> str | None:
    """Why this is no user id; None when it may be one."""
    if user is None or user == "":
        return "the user id is null or empty"
    if not isinstance(user, str):
        return "the user id is not text"
    try:
        user.encode()
    except UnicodeEncodeError:
        return "the user id is not valid Unicode"
    return None


def _malformed_body(error: ValidationError) -> MalformedBody:
    said = [f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in error.errors()[:3]]
    return MalformedBody(f"{'; '.join(said)}. {FORM}")
