"""Rules about the state of a version."""

from portrait.registry.database.tables import LIVE_STATES, VersionState
from portrait.registry.gates.rule import Facts, accept, reject, wait
from portrait.registry.records.verdicts import Verdict


class VersionIsReady:
    """The version is ready: it was backfilled, did not fail and is not being retired."""

    name = "version-is-ready"

    def check(self, facts: Facts) -> Verdict:
        """Wait while a backfill can make it ready; reject what will not become ready again."""
        version = facts.version
        match version.state:
            case VersionState.READY:
                return accept(self, f"version {version.id} is ready")
            case VersionState.REGISTERED | VersionState.BACKFILLING:
                reason = f"version {version.id} is {version.state}, not ready"
                return wait(self, reason, f"run `portrait backfill {version.id}`")
            case _:
                return reject(self, _ended(facts), "promote another version", forceable=False)


class VersionIsLive:
    """The version to go back to did not fail and is not being retired."""

    name = "version-is-live"

    def check(self, facts: Facts) -> Verdict:
        """Reject what has ended."""
        if facts.version.state in LIVE_STATES:
            return accept(self, f"version {facts.version.id} is {facts.version.state}")
        return reject(self, _ended(facts), "promote another version", forceable=False)


def _ended(facts: Facts) -> str:
    version = facts.version
    if version.state is VersionState.FAILED:
        return f"version {version.id} failed ({version.failure})"
    return f"version {version.id} is {version.state}"
