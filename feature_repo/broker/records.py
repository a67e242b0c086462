"""Records as they stand in a stream: the JSON object that the HTTP API takes, and `kind`."""

from collections.abc import Mapping

import orjson

from portrait.feature_repo.ingest.record_fields import Unfit
from portrait.feature_repo.log.inbox import Arriving
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, Kind
from portrait.feature_repo.log.partition import bucket_of

KINDS = ", ".join(Kind)


def stream_record(arriving: Arriving, record: Mapping[str, object]) -> tuple[int, bytes]:
    """A judged record for the broker: the bucket of its stream, and its JSON, in which an event has its id."""
    event_id = {} if arriving.event_id is None else {"event_id": arriving.event_id}
    return _stream_of(arriving), orjson.dumps({"kind": arriving.kind, **record, **event_id})


def kind_and_fields(record: bytes) -> tuple[Kind, dict[str, object]]:
    """The reverse; raises Unfit for what is no such record."""
    try:
        fields = orjson.loads(record)
    except orjson.JSONDecodeError as error:
        raise Unfit(f"the record is not JSON: {error}") from error
    if type(fields) is not dict:
        raise Unfit("a record is a JSON object")
    kind = fields.pop("kind", None)
    if type(kind) is not str or kind not in set(Kind):
        raise Unfit(f"kind is none of {KINDS}")
    return Kind(kind), fields


def user_of_record(record: bytes) -> str | None:
    """The user whom a record names, as text; None where it is none, or cannot be read."""
    try:
        fields = orjson.loads(record)
    except orjson.JSONDecodeError:
        return None
    user = fields.get("user_id") if type(fields) is dict else None
    return str(user) if type(user) is str or type(user) is int else None


def _stream_of(arriving: Arriving) -> int:
    """Items have no bucket of their own among those that shards hold: changes of one go the same way."""
    return arriving.bucket if arriving.bucket != ITEMS_BUCKET else _item_bucket(arriving.payload)


def _item_bucket(payload: str) -> int:
    item = orjson.loads(payload)
    return bucket_of(f"{item['service']}/{item['item_id']}")
