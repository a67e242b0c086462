"""Amazon reviews of several services that share user ids: an order inside each service, no clock."""

from pathlib import Path

from portrait.feature_repo.ingest.adapters.clock import day_sql
from portrait.feature_repo.ingest.adapters.conversion import CanonicalFiles, Conversion

INTERACTIONS, ITEMS = "interactions.parquet", "items.parquet"

_EVENTS = f"""
    SELECT user_id, item_id, {day_sql("max(position) OVER (PARTITION BY user_id, service) - position")} AS event_time,
           service, 'review' AS action
    FROM interactions
"""

_ITEMS = "SELECT item_id, service, text FROM items"


def convert(path: Path, out_dir: Path) -> CanonicalFiles:
    """Reviews to events, one a day in each service, and titles to items; `path` is the folder or its interactions file.

    Raises InvalidInput unless both files are there and are such tables.
    """
    folder = path.parent if path.name == INTERACTIONS else path
    with Conversion(out_dir) as conversion:
        conversion.source("interactions", folder / INTERACTIONS, ("user_id", "service", "item_id", "position"))
        conversion.source("items", folder / ITEMS, ("item_id", "service", "text"))
        return CanonicalFiles(events=conversion.write("events", _EVENTS), items=conversion.write("items", _ITEMS))
