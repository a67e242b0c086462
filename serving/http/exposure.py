"""Before a gateway starts: to whom it would answer, and whether that may be."""

from collections.abc import Collection

from portrait.registry.errors import Conflict
from portrait.registry.records.records import ApiKey
from portrait.serving.http.access import is_loopback
from portrait.serving.settings import ServingSettings

MAKE_ONE = "make one with `portrait keys add NAME --administer`"


def require_safe(settings: ServingSettings, keys: Collection[ApiKey]) -> str:
    """What to say about who may call; raises Conflict for a gateway that would be open to more than this machine.

    A revoked key counts: it shows that somebody wanted keys, and nothing is open since.
    """
    if keys:
        usable = sum(key.revoked_at is None for key in keys)
        return f"API keys are required ({usable} usable)" if usable else f"every API key is revoked: {MAKE_ONE}"
    if settings.production:
        raise Conflict(f"there are no API keys, and PORTRAIT_PRODUCTION asks for them: {MAKE_ONE}")
    if not is_loopback(settings.host):
        raise Conflict(
            f"there are no API keys, so {settings.host} would be open to everybody who reaches it: {MAKE_ONE}, "
            "or listen on 127.0.0.1"
        )
    return f"no API keys: only this machine is answered, without asking who; {MAKE_ONE}"
