"""Rules about lag: the time by which vectors trail the log and the histories of their users."""

from portrait.registry.gates.rule import GateFacts, accept, current_vectors, wait
from portrait.registry.gates.wording import distinct_texts, span
from portrait.registry.records.verdicts import Verdict


class WatermarkLag:
    """The version's vectors trail the newest event of the log by no more than the consumer allows."""

    name = "watermark-lag"

    def check(self, facts: GateFacts) -> Verdict:
        """Wait for a backfill as of a later time."""
        vectors = current_vectors(self, facts)
        if isinstance(vectors, Verdict):
            return vectors
        limit = facts.consumer.gates.max_watermark_lag
        shown, allowed = distinct_texts(span, vectors.watermark_lag, limit)
        reason = f"version {facts.version.id} trails the log by {shown}, the limit is {allowed}"
        if vectors.watermark_lag > limit:
            return wait(self, reason, f"run `portrait backfill {facts.version.id}`")
        return accept(self, reason)


class RefreshLag:
    """No user's vector trails the user's own history by more than the consumer allows."""

    name = "refresh-lag"

    def check(self, facts: GateFacts) -> Verdict:
        """Wait for the refresh, or for a backfill instead."""
        vectors = current_vectors(self, facts)
        if isinstance(vectors, Verdict):
            return vectors
        if vectors.refresh_lag <= 0:
            return accept(self, f"no user's vector of {facts.version.id} trails the user's history")
        limit = facts.consumer.gates.max_refresh_lag
        shown, allowed = distinct_texts(span, vectors.refresh_lag, limit)
        behind = f"{vectors.users_behind:,} users' vectors trail their history by up to {shown}"
        reason = f"{behind} at {facts.version.id}, the limit is {allowed}"
        if vectors.refresh_lag > limit:
            return wait(self, reason, f"let the refresh catch up, or run `portrait backfill {facts.version.id}`")
        return accept(self, reason)


class LagIsTold:
    """The lag of an earlier version. It never stops a rollback: old vectors beat broken ones."""

    name = "lag-is-told"

    def check(self, facts: GateFacts) -> Verdict:
        """Accept, and say what to run afterwards."""
        vectors, version = facts.vectors, facts.version.id
        if vectors is None:
            return accept(self, f"nobody knows how far {version} trails the log")
        lag = max(vectors.watermark_lag, vectors.refresh_lag)
        if lag <= 0:
            return accept(self, f"version {version} is level with the log")
        behind = f"{vectors.users_behind:,} users' vectors by up to {span(vectors.refresh_lag)}"
        told = f"version {version} trails the log by {span(vectors.watermark_lag)}, {behind}"
        return accept(self, f"{told}: run `portrait backfill {version}` after the rollback")
