"""The HTTP API over a registry and twins of the stores: answers, errors, odd input."""

import io
import json
from datetime import datetime
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from portrait.registry.serving_state.serving_state import read_generation
from portrait.serving.reads.answers import ARROW
from tests.serving.conftest import MAX_BATCH, problem
from tests.serving.twin_source import BACKFILLED, DIMENSION, FINGERPRINTS
from tests.serving.twins import COMPUTED, ODD_VECTOR, Twins

PATH = "/v1/consumers/ranker/embeddings"
FIELDS = {"user_id", "vector", "version", "fingerprint", "lane", "source", "as_of", "age_seconds", "stale"}


def test_a_stored_user_comes_with_every_field(http: TestClient) -> None:
    answer = http.get(f"{PATH}/user-7").json()
    assert set(answer) == FIELDS
    assert answer["user_id"] == "user-7"
    assert answer["vector"] == [7.0] * DIMENSION
    assert (answer["version"], answer["fingerprint"]) == ("autoencoder-1", FINGERPRINTS["autoencoder-1"])
    assert (answer["lane"], answer["source"]) == ("stable", "stored")
    assert datetime.fromisoformat(answer["as_of"]) == BACKFILLED
    age = datetime.now(COMPUTED.tzinfo).timestamp() - COMPUTED.timestamp()
    assert answer["age_seconds"] == pytest.approx(age, abs=5)


def test_json_keeps_every_bit_of_a_float32(http: TestClient) -> None:
    vector = np.array(http.get(f"{PATH}/ada").json()["vector"], np.float32)
    assert vector.tobytes() == ODD_VECTOR.tobytes()


@pytest.mark.parametrize("several", ["get", "post"])
def test_a_batch_keeps_the_order_and_repeats(http: TestClient, several: str) -> None:
    users = ["user-3", "nobody", "user-1", "user-3"]
    answer = http.get(PATH, params={"user": users}) if several == "get" else http.post(PATH, json={"users": users})
    rows = answer.json()["embeddings"]
    assert [row["user_id"] for row in rows] == users
    assert [row["vector"][0] for row in rows] == [3.0, -1.0, 1.0, 3.0]
    assert [row["source"] for row in rows] == ["stored", "prior", "stored", "stored"]
    assert all(set(row) == FIELDS for row in rows)


def test_an_empty_batch_is_an_empty_answer(http: TestClient) -> None:
    assert http.post(PATH, json={"users": []}).json() == {"embeddings": []}
    arrow = http.post(PATH, json={"users": []}, headers={"Accept": ARROW})
    assert _table(arrow.content).num_rows == 0


def test_arrow_has_the_documented_columns_and_the_same_bits(http: TestClient) -> None:
    answer = http.post(PATH, json={"users": ["ada", "bob", "nobody"]}, headers={"Accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    table = _table(answer.content)
    assert table.column_names == [
        "user_id",
        "vector",
        "version",
        "fingerprint",
        "lane",
        "source",
        "as_of",
        "age_seconds",
        "stale",
    ]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), DIMENSION)
    assert table.column("source").to_pylist() == ["stored", "computed", "prior"]
    assert table.column("as_of").to_pylist()[0] == BACKFILLED
    first = table.column("vector").combine_chunks().flatten().to_numpy()[:DIMENSION]
    assert first.tobytes() == ODD_VECTOR.tobytes()


def test_one_user_as_arrow(http: TestClient) -> None:
    assert _table(http.get(f"{PATH}/ada", headers={"Accept": ARROW}).content).num_rows == 1


def test_each_consumer_reads_its_own_version(http: TestClient) -> None:
    assert http.get(f"{PATH}/user-7").json()["version"] == "autoencoder-1"
    other = http.get("/v1/consumers/search/embeddings/user-7").json()
    assert (other["version"], other["vector"][0]) == ("autoencoder-2", -7.0)


def test_a_batch_has_one_version_even_when_a_promotion_comes_between(http: TestClient, parts: Twins) -> None:
    before = http.get(f"{PATH}/user-7").json()["version"]
    parts.promote("ranker", "autoencoder-2")
    after = http.get(f"{PATH}/user-7").json()
    assert (before, after["version"], after["vector"][0]) == ("autoencoder-1", "autoencoder-2", -7.0)


def test_bytes_that_are_no_text_do_not_hurt(http: TestClient) -> None:
    assert http.get(f"{PATH}/%ff%fe").json()["source"] == "prior"


def _table(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(io.BytesIO(content)) as stream:
        return stream.read_all()


@pytest.mark.parametrize("name", ["nobody", "RANKER", "ü🦄", "x" * 5000, "'; DROP TABLE", "%00"])
def test_an_unknown_consumer_is_a_404_with_the_known_ones(http: TestClient, name: str) -> None:
    escaped = quote(name, safe="")
    problem(http.get(f"/v1/consumers/{escaped}/embeddings/ada"), 404, "fresh, ranker, search")
    problem(http.get(f"/v1/consumers/{escaped}/embeddings?user=ada"), 404)
    problem(http.post(f"/v1/consumers/{escaped}/embeddings", json={"users": ["ada"]}), 404)
    problem(http.get(f"/v1/consumers/{escaped}"), 404)
    problem(http.get(f"/v1/consumers/{escaped}/history"), 404)


def test_a_consumer_without_a_version_is_a_409_that_says_what_to_do(http: TestClient) -> None:
    problem(http.get("/v1/consumers/fresh/embeddings/ada"), 409, "portrait promote fresh")


def test_an_oversize_batch_names_the_limit(http: TestClient, parts: Twins) -> None:
    users = [f"user-{number}" for number in range(MAX_BATCH + 1)]
    body = problem(http.post(PATH, json={"users": users}), 413, str(MAX_BATCH))
    assert body["limit"] == MAX_BATCH
    problem(http.get(PATH, params={"user": users}), 413, str(MAX_BATCH))
    assert http.post(PATH, json={"users": users[:MAX_BATCH]}).status_code == 200
    assert parts.store.lookups == 1


def test_a_huge_body_is_refused_before_it_is_parsed(http: TestClient) -> None:
    problem(http.post(PATH, content=b" " * (MAX_BATCH * 1024 + 65 * 1024)), 413, "bytes")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"ada"', b"null", b"{}", b'{"users": "ada"}', b'{"users": [1', b'{"users": null}',
     b'{"users": ["a"], "strict": "yes"}', b'{"users": ["a"], "extra": 1}', b"\xff\xfe"],
)  # fmt: skip
def test_a_malformed_body_is_a_422_that_shows_a_good_one(http: TestClient, body: bytes) -> None:
    problem(http.post(PATH, content=body), 422, '"users": ["a", "b"]')


def test_bad_queries_are_400s(http: TestClient) -> None:
    problem(http.get(PATH), 400, "user")
    problem(http.get(f"{PATH}/ada?strict=perhaps"), 400, "strict")
    problem(http.get(f"{PATH}/"), 400, "empty")
    problem(http.get(f"{PATH}?user=a&user="), 400, "number 2 is empty")


def test_strict_refuses_only_users_of_whom_nothing_is_known(http: TestClient) -> None:
    problem(http.get(f"{PATH}/nobody?strict=true"), 404, "'nobody'")
    problem(http.post(PATH, json={"users": ["ada", "nobody"], "strict": True}), 404, "'nobody'")
    assert http.get(f"{PATH}/ada?strict=true").json()["source"] == "stored"
    assert http.get(f"{PATH}/bob?strict=true").json()["source"] == "computed"
    assert http.get(f"{PATH}/silent?strict=true").json()["source"] == "prior"


def test_a_store_that_is_away_is_a_503(http: TestClient, parts: Twins) -> None:
    parts.store.away = True
    answer = http.get(f"{PATH}/ada")
    problem(answer, 503, "does not answer")
    assert answer.headers["retry-after"]
    problem(http.get("/readyz"), 503)
    assert http.get("/healthz").status_code == 200


def test_what_nobody_foresaw_is_a_500_problem_without_insides(http: TestClient, parts: Twins) -> None:
    parts.reader.repo = None  # type: ignore[assignment]
    body = problem(http.get(f"{PATH}/ada"), 500)
    assert "NoneType" not in str(body)


def test_other_paths_and_methods_are_problems_too(http: TestClient) -> None:
    problem(http.get("/v2"), 404)
    answer = http.delete(PATH)
    problem(answer, 405)
    assert answer.headers["allow"]


def test_consumers_versions_and_history(http: TestClient) -> None:
    listed = http.get("/v1/consumers").json()
    assert [row["name"] for row in listed] == ["fresh", "ranker", "search"]
    assert [row["assignment"] and row["assignment"]["stable"] for row in listed] == [
        None,
        "autoencoder-1",
        "autoencoder-2",
    ]
    assert http.get("/v1/consumers/ranker").json() == listed[1]
    history = http.get("/v1/consumers/ranker/history").json()
    assert [(row["kind"], row["to_version"], row["actor"]) for row in history] == [("promote", "autoencoder-1", "ann")]
    assert [row["id"] for row in http.get("/v1/versions").json()] == ["autoencoder-1", "autoencoder-2"]
    assert http.get("/v1/versions/autoencoder-2").json()["fingerprint"] == FINGERPRINTS["autoencoder-2"]
    problem(http.get("/v1/versions/autoencoder-9"), 404)


def test_metrics_show_where_vectors_came_from(http: TestClient, parts: Twins) -> None:
    def counts() -> dict[str, float]:
        lines = (line.rpartition(" ") for line in http.get("/metrics").text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def ask() -> None:
        http.post(PATH, json={"users": ["ada", "user-1", "bob", "nobody"]})
        http.get("/v1/consumers/nobody/embeddings/x")

    ask()  # a counter shows up with its first use; where processes share files, with what earlier tests left in it
    before = counts()
    ask()
    after = counts()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    for source, count in {"stored": 2, "computed": 1, "prior": 1}.items():
        labels = f'consumer="ranker",source="{source}",version="autoencoder-1"'
        assert grown(f"portrait_embeddings_total{{{labels}}}") == count
    assert grown('portrait_request_seconds_count{endpoint="embeddings",status="200"}') == 1
    assert grown('portrait_request_seconds_count{endpoint="embedding",status="404"}') == 1
    assert not any("nobody" in name for name in after)  # a label for whoever asks would be unbounded
    assert after["portrait_generation"] == read_generation(parts.registry.database)


def test_docs_and_readiness(http: TestClient, parts: Twins) -> None:
    assert http.get("/docs").status_code == 200
    assert http.get("/readyz").json()["generation"] == read_generation(parts.registry.database)


ODD_IDS = {
    "half of an emoji": (b'"\\ud83d"', "is not valid Unicode"),
    "latin-1": (b'"caf\xe9"', "is not valid Unicode"),
    "bare surrogate": (b'"\xed\xa0\xbd"', "is not valid Unicode"),
    "NaN": (b"NaN", "is not text"),
    "null": (b"null", "is null or empty"),
    "empty": (b'""', "is null or empty"),
    "true": (b"true", "is not text"),
    "a list": (b'["a"]', "is not text"),
    "a fraction": (b"1.5", "is not text"),
}


@pytest.mark.parametrize(("odd", "reason"), ODD_IDS.values(), ids=ODD_IDS)
def test_an_id_that_nobody_can_have_costs_no_other(http: TestClient, odd: bytes, reason: str) -> None:
    body = b'{"users": ["ada", ' + odd + b', "bob"]}'
    answer = http.post(PATH, content=body)
    assert answer.status_code == 200, answer.text
    ada, nobody, bob = answer.json()["embeddings"]
    assert [ada["user_id"], nobody, bob["user_id"]] == ["ada", None, "bob"]
    assert np.array(ada["vector"], np.float32).tobytes() == ODD_VECTOR.tobytes() and bob["source"] == "computed"
    (rejected,) = answer.json()["rejected"]
    assert rejected == {"index": 1, "reason": f"the user id {reason}"}
    table = _table(http.post(PATH, content=body, headers={"Accept": ARROW}).content)
    assert table.column("user_id").to_pylist() == ["ada", None, "bob"]
    assert table.column("vector").to_pylist()[1] is None
    assert json.loads(table.schema.metadata[b"rejected"]) == [rejected]
    alone = problem(http.post(PATH, content=b'{"users": [' + odd + b"]}"), 422, "the user id is rejected", reason)
    assert alone["rejected"] == [{**rejected, "index": 0}]


def test_odd_ids_that_somebody_may_have_are_looked_up(http: TestClient, parts: Twins) -> None:
    users = ["7", "a\0b", "x" * 5000]
    for user in users:
        parts.store.vectors["autoencoder-1", user] = ODD_VECTOR
    body = b'{"users": [7, "a\0b", "a\\u0000b", "' + b"x" * 5000 + b'", null]}'
    rows = http.post(PATH, content=body).json()["embeddings"]
    assert [row and (row["user_id"], row["source"]) for row in rows] == [
        ("7", "stored"),
        ("a\0b", "stored"),
        ("a\0b", "stored"),
        ("x" * 5000, "stored"),
        None,
    ]


def test_what_is_no_list_of_users_is_still_refused_as_a_whole(http: TestClient) -> None:
    for body in (b'{"users": "ada"}', b'{"users": ["ada", null], "more": 1}', b'{"users": [null], "strict": "yes"}'):
        problem(http.post(PATH, content=body), 422, 'Send {"users": ["a", "b"], "strict": false}')
    many = b'{"users": [' + b",".join([b"null"] * (MAX_BATCH + 1)) + b"]}"
    problem(http.post(PATH, content=many), 413, f"{MAX_BATCH + 1} users in one request")
