"""Last.fm listeners: who plays which artists, without order or clock, and two fields to predict."""

from pathlib import Path

from portrait.feature_repo.ingest.adapters.clock import INSTANT_SQL
from portrait.feature_repo.ingest.adapters.conversion import CanonicalFiles, Conversion

SERVICE = "music"
COLUMNS = ("user", "artist", "sex", "country")

_EVENTS = f"""
    SELECT "user"::VARCHAR AS user_id, artist AS item_id, {INSTANT_SQL} AS event_time, '{SERVICE}' AS service,
           'play' AS action
    FROM plays
"""

_ITEMS = f"""
    SELECT DISTINCT artist AS item_id, '{SERVICE}' AS service, artist AS text FROM plays WHERE artist <> '' ORDER BY 1
"""

# Sex and country are what transfer tasks predict: in the profile they would leak into the representation.
_USERS = 'SELECT DISTINCT "user"::VARCHAR AS user_id FROM plays WHERE "user" IS NOT NULL ORDER BY 1'

_LABELS = """
    SELECT "user"::VARCHAR AS user_id, any_value(sex) AS sex, any_value(country) AS country
    FROM plays WHERE "user" IS NOT NULL GROUP BY 1 ORDER BY 1
"""


def convert(path: Path, out_dir: Path) -> CanonicalFiles:
    """Plays to events, artists to items, and a labels file with sex and country; `path` is plays.parquet.

    Raises InvalidInput for a file that is no such table.
    """
    with Conversion(out_dir) as conversion:
        conversion.source("plays", path, COLUMNS)
        return CanonicalFiles(
            events=conversion.write("events", _EVENTS),
            items=conversion.write("items", _ITEMS),
            users=conversion.write("users", _USERS),
            labels=conversion.write("labels", _LABELS),
        )
