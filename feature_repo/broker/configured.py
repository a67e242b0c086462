"""The broker that the settings name."""

from sqlalchemy import make_url

from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.broker.redis_streams import RedisStreams
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.errors import InvalidInput


def open_broker(settings: FeatureSettings) -> Broker | None:
    """None where records go straight into the inbox. Raises InvalidInput for another kind of server."""
    if not settings.broker_url:
        return None
    url = make_url(settings.broker_url)
    if url.drivername not in ("redis", "rediss"):
        shown = url.render_as_string(hide_password=True)
        raise InvalidInput(f"PORTRAIT_BROKER_URL {shown}: use redis://host:port/db, or leave it empty for none")
    return RedisStreams(settings.broker_url)
