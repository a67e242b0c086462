"""Rules about a version's artifact, its fingerprint and its state.

Evidence against a version counts however old it is; evidence for a version must be recent.
"""

from portrait.registry.database.tables import LIVE_STATES, VersionState
from portrait.registry.gates.rule import GateFacts, accept, reject, wait
from portrait.registry.records.verdicts import Verdict


class ArtifactLoads:
    """The artifact of the version loads, and encodes its probe as it did after training."""

    name = "artifact-loads"

    def check(self, facts: GateFacts) -> Verdict:
        """Reject an artifact that does not load, even with force; wait for recent evidence."""
        version, artifact = facts.version, facts.artifact
        if artifact is not None and not artifact.loads:
            reason = f"the artifact of {version.id} does not load ({artifact.problem or 'no cause is known'})"
            return reject(self, reason, f"restore {version.artifact}, or promote another version", forceable=False)
        outdated = facts.outdated("artifact")
        if outdated:
            return wait(self, outdated, facts.look_again, forceable=artifact is not None)
        return accept(self, f"the artifact of {version.id} loads and encodes its probe")


class FingerprintIntact:
    """Artifact and heads belong to the space that was registered."""

    name = "fingerprint-intact"

    def check(self, facts: GateFacts) -> Verdict:
        """Reject another fingerprint, even with force; wait for recent evidence."""
        version, artifact = facts.version, facts.artifact
        found = artifact.fingerprint if artifact else None
        if found is not None and found != version.fingerprint:
            reason = f"version {version.id} has fingerprint {version.fingerprint}, but {version.artifact} has {found}"
            return reject(self, reason, "restore the artifact, or promote another version", forceable=False)
        for head in facts.heads:
            if head.fingerprint != version.fingerprint:
                trained = f"but head {head.id} was trained on {head.fingerprint}"
                reason = f"version {version.id} has fingerprint {version.fingerprint}, {trained}"
                return reject(self, reason, "train the head on the vectors of this version", forceable=False)
        outdated = facts.outdated("artifact") or ("" if found else f"no fingerprint of {version.artifact} is known")
        if outdated:
            return wait(self, outdated, facts.look_again, forceable=found is not None)
        return accept(self, f"the artifact has the fingerprint {version.fingerprint} that was registered")


class VersionIsReady:
    """The version is ready: it was backfilled, did not fail and is not being retired."""

    name = "version-is-ready"

    def check(self, facts: GateFacts) -> Verdict:
        """Wait while a backfill can make the version ready; reject one that failed or is being retired."""
        version = facts.version
        match version.state:
            case VersionState.READY:
                return accept(self, f"version {version.id} is ready")
            case VersionState.REGISTERED | VersionState.BACKFILLING:
                reason = f"version {version.id} is {version.state}, not ready"
                return wait(self, reason, f"run `portrait backfill {version.id}`")
            case _:
                return reject(self, _end_reason(facts), "promote another version", forceable=False)


class VersionIsLive:
    """The version to go back to did not fail and is not being retired."""

    name = "version-is-live"

    def check(self, facts: GateFacts) -> Verdict:
        """Reject a version that failed or is being retired."""
        if facts.version.state in LIVE_STATES:
            return accept(self, f"version {facts.version.id} is {facts.version.state}")
        return reject(self, _end_reason(facts), "promote another version", forceable=False)


def _end_reason(facts: GateFacts) -> str:
    version = facts.version
    if version.state is VersionState.FAILED:
        return f"version {version.id} failed ({version.failure})"
    return f"version {version.id} is {version.state}"
