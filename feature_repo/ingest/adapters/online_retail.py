"""UCI Online Retail II: invoice lines of one shop, with real clocks, real text and real dirt."""

from pathlib import Path

from portrait.feature_repo.ingest.adapters.conversion import CanonicalFiles, Conversion

SERVICE = "shop"
COLUMNS = ("customer_id", "description", "quantity", "invoice_time", "unit_price", "country")

# One shop writes one article in several ways ("PINK  LAMP ", "Pink lamp"): the cleaned description is the item.
_ITEM = r"trim(regexp_replace(upper(description), '\s+', ' ', 'g'))"
_TIME = "invoice_time::TIMESTAMP"  # microseconds; canonical time stamps without a zone are UTC

# Every invoice line, also those without customer or description: it is the ingest that rejects, counts and keeps them.
_EVENTS = f"""
    SELECT customer_id AS user_id, {_ITEM} AS item_id, {_TIME} AS event_time, '{SERVICE}' AS service,
           CASE WHEN quantity < 0 THEN 'return' ELSE 'purchase' END AS action,
           (abs(quantity) * unit_price)::FLOAT AS weight
    FROM lines
"""

_ITEMS = f"""
    SELECT DISTINCT {_ITEM} AS item_id, '{SERVICE}' AS service, {_ITEM} AS text
    FROM lines WHERE {_ITEM} <> '' ORDER BY item_id
"""

# Sign-up is the first purchase; the few customers who only ever returned something signed up with their first line.
# A country may change: the first one is taken, because a later one must not be known before its time.
_USERS = f"""
    SELECT customer_id AS user_id,
           coalesce(min({_TIME}) FILTER (quantity >= 0), min({_TIME})) AS created_time,
           min({{'time': invoice_time, 'country': country}}).country AS country
    FROM lines WHERE customer_id <> '' GROUP BY customer_id ORDER BY user_id
"""


def convert(path: Path, out_dir: Path) -> CanonicalFiles:
    """Invoice lines to events, items and users; `path` is transactions.parquet.

    An event's weight is the line's turnover. Raises InvalidInput for a file that is no such table.
    """
    with Conversion(out_dir) as conversion:
        conversion.source("lines", path, COLUMNS)
        return CanonicalFiles(
            events=conversion.write("events", _EVENTS),
            items=conversion.write("items", _ITEMS),
            users=conversion.write("users", _USERS),
        )
