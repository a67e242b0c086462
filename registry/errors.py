"""The error tree of Portrait. A message says what is wrong, with the value, and what to do.

PortraitError
├── InvalidInput              the caller's data or arguments; the command line exits with 2
├── NotFound                  an unknown version, consumer, user, snapshot
├── Conflict                  another change came first, or the present state forbids this one
│   ├── FingerprintMismatch   two embedding spaces were about to be mixed
│   ├── LeaseLost             another shard holds the bucket now
│   └── GateRefused           a gate does not let a promotion pass; it carries every verdict
├── AccessDenied              the HTTP API does not let the caller do this
│   ├── Unauthenticated       no key was given, or an unknown one
│   └── Forbidden             the key's scopes do not allow it
└── Unavailable               a database, store or server does not answer
    └── RegistryUnusable      the registry database cannot be used
        ├── RegistryMissing   there is no database, or it has no tables of ours
        ├── RegistryBehind    it is not at the revision that this code needs
        └── RegistryForeign   it belongs to another instance than the Feast project
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portrait.registry.records.verdicts import Verdict


class PortraitError(Exception):
    """Root of every error that is meant to be read by a person."""


class InvalidInput(PortraitError):
    """The caller's data, settings or arguments are unusable."""


class NotFound(PortraitError):
    """The named thing does not exist."""


class Conflict(PortraitError):
    """The present state forbids the change."""


class FingerprintMismatch(Conflict):
    """Vectors, artifacts or heads of two embedding versions were about to be mixed."""


class LeaseLost(Conflict):
    """A bucket is refreshed by another shard now; nothing may be written for it."""


class GateRefused(Conflict):
    """A gate does not let a promotion pass."""

    def __init__(self, message: str, verdicts: "tuple[Verdict, ...]") -> None:
        super().__init__(message)
        self.verdicts = verdicts


class AccessDenied(PortraitError):
    """The caller may not do this."""


class Unauthenticated(AccessDenied):
    """No key was given, or an unknown one."""


class Forbidden(AccessDenied):
    """The key is known, but its scopes do not allow this."""


class Unavailable(PortraitError):
    """A database, store or server does not answer."""


class StoreForeign(Unavailable):
    """The online store is filled by another registry: its vectors are not those of this one's versions."""


class RegistryUnusable(Unavailable):
    """The registry database cannot be used."""


class RegistryMissing(RegistryUnusable):
    """No database, or one without the registry's tables."""


class RegistryBehind(RegistryUnusable):
    """The database is not at the schema revision that this code needs."""


class RegistryForeign(RegistryUnusable):
    """The registry belongs to another instance than the Feast project."""


def first_line(error: BaseException) -> str:
    """The first line that an error says, without blanks around it; empty when it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
