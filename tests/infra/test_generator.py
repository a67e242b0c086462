"""The generator: reproducible, canonical, and with the tastes really in the data."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.schemas import TIME
from portrait.infra.generator import END, TASTES, GeneratedFiles, generate
from portrait.registry.errors import InvalidInput


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> GeneratedFiles:
    return generate(tmp_path_factory.mktemp("generated"), users=1000, seed=7)


def query(sql: str, files: GeneratedFiles) -> list[Any]:
    """Rows of a query over the four tables."""
    with duckdb.connect() as connection:
        for name in ("events", "items", "users", "labels"):
            connection.register(name, pq.read_table(getattr(files, name)))
        rows: list[Any] = connection.sql(sql).fetchall()
        return rows


def test_tables_are_canonical(files: GeneratedFiles) -> None:
    events = pq.read_table(files.events)
    assert events.schema == pa.schema(
        [
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("event_time", TIME),
            ("service", pa.string()),
            ("action", pa.string()),
            ("weight", pa.float32()),
        ]
    )
    assert not any(column.null_count for column in events.columns)
    assert pc.max(events["event_time"]).as_py() < END
    assert pq.read_schema(files.items).names == ["item_id", "service", "text", "tags"]
    assert pq.read_schema(files.users).names[:3] == ["user_id", "created_time", "onboarding_items"]
    assert pq.read_schema(files.labels).names == ["user_id", "event_time", "taste", "churned"]


def test_the_same_seed_gives_the_same_tables_and_another_seed_others(files: GeneratedFiles, tmp_path: Path) -> None:
    same = generate(tmp_path / "same", users=1000, seed=7)
    other = generate(tmp_path / "other", users=1000, seed=8)
    for name in ("events", "items", "users", "labels"):
        assert pq.read_table(getattr(same, name)).equals(pq.read_table(getattr(files, name)))
    assert not pq.read_table(other.events).equals(pq.read_table(files.events))


def test_the_odd_users_are_there_in_their_exact_shares(files: GeneratedFiles) -> None:
    counts = """
        SELECT count(*) FILTER (u.user_id IS NOT NULL AND e.user_id IS NOT NULL),
               count(*) FILTER (e.user_id IS NULL AND u.created_time IS NULL),
               count(*) FILTER (e.user_id IS NULL AND len(u.onboarding_items) >= 3),
               count(*) FILTER (u.user_id IS NULL)
        FROM users u FULL JOIN (SELECT DISTINCT user_id FROM events) e USING (user_id)
    """
    # usual, nothing at all, onboarding only, events only
    assert query(counts, files) == [(920, 20, 50, 10)]


def test_labels_cover_all_users_about_whom_something_is_known(files: GeneratedFiles) -> None:
    known = "SELECT user_id FROM events UNION SELECT user_id FROM users WHERE created_time IS NOT NULL"
    assert query(f"({known}) EXCEPT SELECT user_id FROM labels", files) == []
    assert query(f"SELECT user_id FROM labels EXCEPT ({known})", files) == []


def test_nothing_happens_before_sign_up_and_every_item_is_in_the_catalogue(files: GeneratedFiles) -> None:
    early = "SELECT * FROM events JOIN users USING (user_id) WHERE event_time < created_time"
    unknown = "SELECT service, item_id FROM events EXCEPT SELECT service, item_id FROM items"
    picked = "SELECT unnest(onboarding_items) AS item_id FROM users EXCEPT SELECT item_id FROM items"
    assert [query(sql, files) for sql in (early, unknown, picked)] == [[], [], []]


def test_the_planted_taste_is_what_users_do_at_last(files: GeneratedFiles) -> None:
    newest = """
        SELECT user_id, mode(tags[1]) AS taste FROM (
            SELECT user_id, tags, row_number() OVER (PARTITION BY user_id ORDER BY event_time DESC) AS back
            FROM events JOIN items USING (service, item_id)
        ) WHERE back <= 15 GROUP BY user_id HAVING count(*) = 15
    """
    [(share,)] = query(f"SELECT avg((n.taste = l.taste)::INT) FROM ({newest}) n JOIN labels l USING (user_id)", files)
    assert share > 0.8
    assert query("SELECT count(DISTINCT taste) FROM labels", files) == [(len(TASTES),)]


def test_tastes_drift_and_leavers_fade(files: GeneratedFiles) -> None:
    drifted = """
        SELECT avg((tags[1] <> taste)::INT) FROM users JOIN items ON item_id = onboarding_items[1]
        JOIN labels USING (user_id)
    """
    [(share,)] = query(drifted, files)
    assert share == pytest.approx(0.25, abs=0.05)
    days_silent = """
        SELECT churned, median(date_diff('day', newest, TIMESTAMP '2025-01-01')) FROM labels
        JOIN (SELECT user_id, max(event_time::TIMESTAMP) AS newest FROM events GROUP BY user_id) USING (user_id)
        GROUP BY churned ORDER BY churned
    """
    (_, stayed), (_, left) = query(days_silent, files)
    assert left > 1.5 * stayed


def test_picky_users_stay_with_two_words_of_their_taste_in_all_services(files: GeneratedFiles, tmp_path: Path) -> None:
    picky = generate(tmp_path / "picky", users=1000, seed=7, pickiness=0.9)
    favourites = """
        WITH words AS (
            SELECT e.user_id, e.service, unnest(string_split(i.text, ' ')[:2]) AS word
            FROM events e JOIN items i USING (item_id) JOIN labels l USING (user_id) WHERE i.tags[1] = l.taste
        ), counted AS (SELECT user_id, service, word, count(*) AS n FROM words GROUP BY user_id, service, word),
        counts AS (
            SELECT *, row_number() OVER (PARTITION BY user_id, service ORDER BY n DESC, word) AS place FROM counted
        )
        SELECT avg((a.word = b.word)::INT), count(*) FROM counts a JOIN counts b USING (user_id)
        WHERE a.place = 1 AND b.place <= 2 AND a.service = 'music' AND b.service = 'video' AND a.n >= 5 AND b.n >= 5
    """
    [(usual, _)], [(share, pairs)] = query(favourites, files), query(favourites, picky)
    assert pairs > 300 and usual < 0.25 and share > 0.4
    assert pq.read_table(picky.items).equals(pq.read_table(files.items))


@pytest.mark.parametrize("users", [1, 7])
def test_very_few_users_still_act(tmp_path: Path, users: int) -> None:
    files = generate(tmp_path, users=users)
    assert query("SELECT count(DISTINCT user_id) FROM labels", files) == [(users,)]
    assert pq.read_metadata(files.events).num_rows > 0


def test_no_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot generate 0 users"):
        generate(tmp_path, users=0)
    with pytest.raises(InvalidInput, match=r"pickiness=1\.5 is the share"):
        generate(tmp_path, pickiness=1.5)
    assert list(tmp_path.iterdir()) == []
