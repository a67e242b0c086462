"""Bodies of requests: types apart from what is stored, without any further fields, and limits on their size."""

import asyncio
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request

from portrait.serving.http import problems

NO_NUL = r"^[^\x00]*$"  # Postgres stores none


def _moment(value: Any) -> datetime:
    """RFC 3339 only: pydantic alone would take any number for seconds, a year for instance."""
    try:
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("no time stamp: write 2024-05-01T12:00:00Z, or an offset in place of the Z") from None


def _whole(value: Any) -> Any:
    """A whole float as an int: in JSON Schema 3.0 is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
VersionName = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL, examples=["autoencoder-3"])]
Reason = Annotated[str, Field(max_length=4096, pattern=NO_NUL, description="Kept in history and audit.")]
Force = Annotated[bool, Field(description="Pass over gates that refuse, where they let themselves be; needs a reason.")]
Revision = Annotated[
    Annotated[int, Field(ge=0, lt=2**31), BeforeValidator(_whole)] | None,
    Field(description="409 unless the assignment is still at this revision; 0 is none yet."),
]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", examples=["homepage_ranker"])]
Owner = Annotated[str, Field(min_length=1, max_length=128, pattern=NO_NUL)]
Task = Annotated[str, Field(max_length=256, pattern=NO_NUL)]
Share = Annotated[float | None, Field(ge=0, le=1)]
Metric = Annotated[str, Field(pattern=r"^[^\x00]{1,64}$")]
Limit = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MAX_AGE = "A stored vector older than this is computed anew on read, or answered as stale; 0 for any age."


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class GateChanges(_RequestBody):
    """Settings of a consumer's gates; a setting that is left out stays, null puts the default back."""

    min_coverage: Share = None
    max_watermark_lag: Limit = None
    max_refresh_lag: Limit = None
    max_prior_share: Share = None
    max_collapsed: Share = None
    evidence_seconds: Limit = None
    task: Annotated[str | None, Field(max_length=128, pattern=NO_NUL)] = None
    metric: Annotated[str | None, Field(min_length=1, max_length=64, pattern=NO_NUL)] = None
    tolerance: Limit = None
    higher_is_better: bool | None = None


class NewConsumer(_RequestBody):
    """A consumer to add."""

    name: Name
    owner: Owner
    task: Task = ""
    gates: GateChanges = Field(default_factory=GateChanges)
    wants_head: bool = Field(default=False, description="Whether a version needs a head of it before a promotion.")
    max_age_seconds: Seconds = Field(default=0.0, description=MAX_AGE)


class ConsumerChange(_RequestBody):
    """Changes of a consumer; a field that is null or left out stays."""

    owner: Owner | None = None
    task: Task | None = None
    gates: GateChanges | None = None
    wants_head: bool | None = None
    max_age_seconds: Seconds | None = Field(default=None, description=MAX_AGE)


class NewPromotion(_RequestBody):
    """A version that the consumer is to read from now on."""

    version: VersionName
    canary_share: float | None = Field(default=None, gt=0, lt=1, description="Only for this share of the users.")
    reason: Reason = ""
    force: Force = False
    expected_revision: Revision = None
    dry_run: bool = Field(default=False, description="Ask the gates and change nothing.")


class NewRollback(_RequestBody):
    """A way back to the stable version before."""

    reason: Reason = ""
    force: Force = False
    expected_revision: Revision = None


class CanaryFinish(_RequestBody):
    """The canary becomes the stable version."""

    action: Literal["finish"]
    reason: Reason = ""
    force: Force = False
    expected_revision: Revision = None


class CanaryAbort(_RequestBody):
    """The canary ends and the stable version stays; no gate is asked."""

    action: Literal["abort"]
    reason: Reason = ""
    expected_revision: Revision = None


CanaryEnd = Annotated[CanaryFinish | CanaryAbort, Field(discriminator="action")]


class TrainedHead(_RequestBody):
    """A head to register."""

    version: VersionName
    fingerprint: str = Field(min_length=1, max_length=64, pattern=NO_NUL, description="Of the vectors it learned from.")
    task: str = Field(min_length=1, max_length=128, pattern=NO_NUL)
    data_stamp: str = Field(
        min_length=1, max_length=128, pattern=NO_NUL, description="Names the data that the metrics were measured on."
    )
    as_of: Moment
    metrics: dict[Metric, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        max_length=100, json_schema_extra={"additionalProperties": False}
    )
    location: str = Field(min_length=1, max_length=1024, pattern=NO_NUL, description="Where it lives.")


class Retirement(_RequestBody):
    """The end of a version."""

    reason: Reason = ""


class NewMerge(_RequestBody):
    """Two users who are one."""

    anonymous: str = Field(min_length=1, description="The id that ends.")
    known: str = Field(min_length=1, description="The id that stays, and gets the events and the profile.")


class EventCorrection(_RequestBody):
    """The fields of an event that change; the others stay."""

    item_id: str | None = None
    event_time: str | None = None
    service: str | None = None
    action: str | None = None
    weight: float | None = None


class NewKey(_RequestBody):
    """An API key to make."""

    name: str = Field(min_length=1, max_length=64, pattern=NO_NUL, description="Who uses it; the actor in the audit.")
    grants: list[Annotated[str, Field(max_length=128, examples=["embeddings:read=homepage_ranker"])]] = Field(
        min_length=1, max_length=1000, description="Scopes, with `=CONSUMER` or `=*` where they are for one consumer."
    )


MAX_BODY = 64 * 1024
"""Bytes of a body that changes the registry; only batches of users may be larger."""


BODY_SECONDS = 30.0
"""How long a body may take: a replica works on a limited number of requests, which slow clients must not hold."""


async def body_within(request: Request, limit: int, remedy: str) -> bytes:
    """The body of a request, unpacked where it is gzip.

    Raises TooLarge as soon as more than `limit` bytes have come, packed or unpacked, TooSlow, and MalformedBody for
    what is no gzip, or another encoding.
    """
    parts, size, came = list[bytes](), 0, 0
    gunzip = Gunzip() if _is_gzip(request) else None
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                came += len(part)
                for plain in gunzip.unpack(part, limit + 1) if gunzip else (part,):
                    parts.append(plain)
                    size += len(plain)
                    if size > limit:
                        break
                if max(came, size) > limit:
                    raise problems.TooLarge("this body", limit, "bytes", remedy)
    except TimeoutError:
        raise problems.TooSlow(f"the body did not come within {BODY_SECONDS:g} s: send it faster, or less") from None
    if gunzip and not gunzip.complete:
        raise problems.MalformedBody("the body is said to be gzip and ends in the middle: send it again")
    return b"".join(parts)


def _is_gzip(request: Request) -> bool:
    given = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    encodings = [one.strip() for one in given if one.strip() not in ("", "identity")]
    if encodings and encodings not in (["gzip"], ["x-gzip"]):
        named = ", ".join(encodings)[:80]
        raise problems.MalformedBody(f"the body has the Content-Encoding {named!r}: send it plain, or as gzip")
    return bool(encodings)


class Gunzip:
    """Unpacks gzip in portions, so that a small body cannot fill the memory."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self.complete = False

    def unpack(self, part: bytes, most: int) -> Iterator[bytes]:
        """The bytes that the next part brings, at most `most` of them at a time; raises MalformedBody."""
        while part:
            if self._member.eof:  # gzip is one member or several
                self._member = zlib.decompressobj(wbits=31)
            try:
                yield self._member.decompress(part, most)
            except zlib.error as error:
                raise problems.MalformedBody(f"the body is said to be gzip and is not: {error}") from error
            part = self._member.unconsumed_tail or self._member.unused_data
        self.complete = self._member.eof


def require_json(request: Request) -> None:
    """Raise MalformedBody for another media type.

    This also keeps web pages out: a browser sends JSON to another site only after a preflight.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise problems.MalformedBody("the body is not said to be JSON: send it with Content-Type: application/json")


class BoundedRequest(Request):
    """A request whose JSON body has a limited size; FastAPI parses it afterwards."""

    async def receive_json(self) -> None:
        """Read the body; raises TooLarge, or MalformedBody for another media type."""
        require_json(self)
        self._body = await body_within(self, MAX_BODY, "leave something out")
