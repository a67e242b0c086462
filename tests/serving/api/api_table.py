"""Every route of the API, with a body that it takes, and which kinds of keys it lets in."""

from tests.serving.twin_source import FINGERPRINTS, key, secret

KEYS = (
    key("a0a0a0a0", "reader of ranker", "embeddings:read=ranker"),
    key("a1a1a1a1", "promoter of ranker", "consumers:promote=ranker"),
    key("a2a2a2a2", "events", "events:write"),
    key("a3a3a3a3", "ops", "administer"),
    key("a4a4a4a4", "left", "administer", revoked=True),
)
CALLERS = ("no key", "wrong key", "revoked", "read", "promote", "events", "admin")
READS, PROMOTES, WRITES, ADMINISTERS, LEFT = (secret(key.id) for key in KEYS)
PRESENTED = dict(zip(CALLERS, (None, ADMINISTERS[:-1] + "!", LEFT, READS, PROMOTES, WRITES, ADMINISTERS), strict=True))
ALL = dict.fromkeys(CALLERS, 200)
ANY_KEY = ALL | {"no key": 401, "wrong key": 401, "revoked": 401}
ADMIN = {caller: 401 if code == 401 else 403 for caller, code in ANY_KEY.items()} | {"admin": 200}
READ, PROMOTE = ADMIN | {"read": 200}, ADMIN | {"promote": 200}
HEAD = {
    "version": "autoencoder-1",
    "fingerprint": FINGERPRINTS["autoencoder-1"],
    "task": "listens",
    "data_stamp": "2024-05",
    "as_of": "2024-05-01T00:00:00Z",
    "metrics": {"auc": 0.7},
    "location": "s3://heads/1",
}
EVENTS = ADMIN | {"events": 200}
EVENT = {"user_id": "ann", "item_id": "song", "event_time": "2024-05-01T12:00:00Z"}
TABLE: list[tuple[str, str, object, dict[str, int]]] = [
    ("GET", "/v1/consumers/ranker/embeddings/ada", None, READ),
    ("GET", "/v1/consumers/ranker/embeddings?user=ada", None, READ),
    ("POST", "/v1/consumers/ranker/embeddings", {"users": ["ada"]}, READ),
    ("GET", "/v1/consumers/search/embeddings/ada", None, ADMIN),
    ("GET", "/v1/consumers/search/embeddings?user=ada", None, ADMIN),
    ("POST", "/v1/consumers/search/embeddings", {"users": ["ada"]}, ADMIN),
    ("POST", "/v1/events", EVENT, EVENTS),
    ("POST", "/v1/users", {"user_id": "ann", "country": "Chad"}, EVENTS),
    ("POST", "/v1/items", {"item_id": "song", "text": "A song"}, EVENTS),
    ("GET", "/v1/consumers", None, ANY_KEY),
    ("GET", "/v1/consumers/search", None, ANY_KEY),
    ("GET", "/v1/consumers/search/history", None, ANY_KEY),
    ("GET", "/v1/consumers/search/heads", None, ANY_KEY),
    ("POST", "/v1/consumers", {"name": "fourth", "owner": "team"}, ADMIN),
    ("PATCH", "/v1/consumers/ranker", {"owner": "other"}, ADMIN),
    ("POST", "/v1/consumers/ranker/promotions", {"version": "autoencoder-2"}, PROMOTE),
    ("POST", "/v1/consumers/ranker/promotions", {"version": "autoencoder-2", "dry_run": True}, PROMOTE),
    ("POST", "/v1/consumers/search/promotions", {"version": "autoencoder-1"}, ADMIN),
    ("POST", "/v1/consumers/search/promotions", {"version": "autoencoder-1", "dry_run": True}, ADMIN),
    ("POST", "/v1/consumers/ranker/canary", {"action": "abort"}, PROMOTE),
    ("POST", "/v1/consumers/search/canary", {"action": "abort"}, ADMIN),
    ("POST", "/v1/consumers/ranker/rollback", {}, PROMOTE),
    ("POST", "/v1/consumers/search/rollback", {}, ADMIN),
    ("POST", "/v1/consumers/ranker/heads", HEAD, PROMOTE),
    ("POST", "/v1/consumers/search/heads", HEAD, ADMIN),
    ("GET", "/v1/versions", None, ANY_KEY),
    ("GET", "/v1/versions/autoencoder-1", None, ANY_KEY),
    ("GET", "/v1/versions/autoencoder-1/diff/autoencoder-2", None, ANY_KEY),
    ("POST", "/v1/versions/autoencoder-2/retire", {"reason": "old"}, ADMIN),
    ("GET", "/v1/keys", None, ADMIN),
    ("POST", "/v1/keys", {"name": "new", "grants": ["administer"]}, ADMIN),
    ("DELETE", "/v1/keys/a0a0a0a0", None, ADMIN),
    ("GET", "/v1/audit", None, ADMIN),
    ("DELETE", "/v1/users/ada", None, ADMIN),
    ("POST", "/v1/merges", {"anonymous": "ada", "known": "bob"}, ADMIN),
    ("DELETE", "/v1/events/e1?user=ada", None, ADMIN),
    ("PATCH", "/v1/events/e1?user=ada", {"weight": 2.0}, ADMIN),
    ("GET", "/healthz", None, ALL),
    ("GET", "/readyz", None, ALL),
    ("GET", "/metrics", None, ALL),
    ("GET", "/docs", None, ALL),
    ("GET", "/openapi.json", None, ALL),
]


def headers(caller: str) -> dict[str, str]:
    presented = PRESENTED[caller]
    return {"Authorization": f"Bearer {presented}"} if presented else {}
