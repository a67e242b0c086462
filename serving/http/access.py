"""Access over HTTP: API keys from the polled state, checked without a query."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers

from portrait.registry.access.keys import find_key
from portrait.registry.errors import Conflict, Forbidden, Unauthenticated
from portrait.registry.records.grants import PER_CONSUMER, Grant, Scope
from portrait.registry.records.records import ApiKey
from portrait.serving.settings import ServingSettings
from portrait.serving.state.assignment_poller import Assignments

ANONYMOUS = "anonymous"
"""Actor of callers without a key."""


@dataclass(frozen=True)
class Caller:
    """A caller whom the gateway answers, with the grants of its key."""

    name: str
    grants: tuple[Grant, ...]

    def require(self, scope: Scope | None, consumer: str | None = None) -> None:
        """Raise Forbidden unless a grant covers the scope for that consumer; any key covers the scope None."""
        if scope is not None and not any(grant.allows(scope, consumer) for grant in self.grants):
            wanted = f"{scope}={consumer[:80]!r}" if consumer and scope in PER_CONSUMER else str(scope)
            raise Forbidden(
                f"the API key of {self.name} has no scope {wanted}: ask an administrator for a key that has it"
            )


EVERYBODY = Caller(ANONYMOUS, (Grant(Scope.ADMINISTER),))


class Access:
    """Finds the caller of a request by its API key.

    While the registry has no key at all (a revoked one counts), everybody on this machine may do everything, and
    nobody else may do anything: a key table that was emptied does not open a gateway to the network.
    """

    def __init__(self, assignments: Assignments, settings: ServingSettings) -> None:
        self._assignments = assignments
        self._open_without_keys = is_loopback(settings.host) and not settings.production

    def require_own_site(self, headers: Headers) -> None:
        """Raise Forbidden where no key is asked for and a web page of another site may have sent the request.

        A browser runs pages of strangers on this machine, and sends what they say. A page that had its own name resolve
        to loopback is seen by the Host, one that posts here from elsewhere by its Origin. With keys both are harmless:
        no browser adds a key by itself. Raises Unavailable for such a request while nobody knows of keys.
        """
        if not self._open_without_keys:
            return
        stranger = _stranger(headers)
        if stranger is not None and not self._assignments.state.keys:
            raise Forbidden(stranger)

    def identify(self, presented: str | None) -> Caller:
        """The caller with this key; raises Unauthenticated, and Unavailable until the registry has answered once."""
        keys = self._assignments.state.keys
        if not keys and self._open_without_keys:
            return EVERYBODY
        if not keys:
            raise Unauthenticated("there are no API keys, so only loopback is served: `portrait keys add` makes one")
        if not presented:
            raise Unauthenticated("no API key came with the request: send it as `Authorization: Bearer KEY`")
        key = find_key(keys, presented)
        if key is None:
            raise Unauthenticated("the API key is not known or was revoked: ask an administrator for another")
        return Caller(key.name, key.grants)


def bearer(header: str | None) -> str | None:
    """The key in an Authorization header; None where there is none."""
    scheme, _, key = (header or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z.-]+))(?::\d+)?", re.IGNORECASE)


def _stranger(headers: Headers) -> str | None:
    """Why a web page of another site may have sent the request; None where none can."""
    hosts = headers.getlist("host")
    if not all(map(_is_this_machine, hosts)):
        return (
            f"the request is for {', '.join(hosts)[:80]!r}; without API keys only requests for localhost or "
            "127.0.0.1 are answered, so that no web page of a stranger can send any: ask for that, or make a key"
        )
    for origin in headers.getlist("origin"):
        if origin.lower().partition("://")[2] not in {host.lower() for host in hosts}:
            return (
                f"the request is sent by a web page of {origin[:80]!r}; without API keys only pages of this "
                "gateway may send any: make a key"
            )
    return None


def _is_this_machine(host: str) -> bool:
    """Whether a Host header, of any port, names this machine in words that nobody else can have answered."""
    parts = HOST.fullmatch(host)
    return parts is not None and is_loopback((parts[1] or parts[2]).lower().removesuffix("."))


MAKE_ONE = "make one with `portrait keys add NAME --administer`"


def require_safe(settings: ServingSettings, keys: Collection[ApiKey]) -> str:
    """A sentence about who may call; raises Conflict for a gateway that would be open to more than this machine.

    A revoked key counts as a key: somebody wanted keys, so the gateway stays closed.
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
