"""The rule about the health of vectors: finite numbers, sane norms, few priors, dimensions in use."""

from portrait.registry.gates.rule import GateFacts, accept, current_vectors, reject, wait
from portrait.registry.gates.wording import distinct_texts, percent
from portrait.registry.records.evidence_facts import VectorFacts
from portrait.registry.records.gate_settings import GateSettings
from portrait.registry.records.verdicts import Verdict

LARGEST_NORM = 100.0
"""The limit of the largest norm, in medians: a longer vector comes from broken input or an overflow."""


class VectorsAreHealthy:
    """Vectors are finite, of sane norms, say something about their user, and use their dimensions."""

    name = "vectors-are-healthy"

    def check(self, facts: GateFacts) -> Verdict:
        """Reject unhealthy vectors; wait while there are none to look at."""
        vectors, version = current_vectors(self, facts), facts.version.id
        if isinstance(vectors, Verdict):
            return vectors
        if vectors.users_sampled and not vectors.users_embedded:
            return wait(self, f"no user looked at has a vector of {version}", f"run `portrait backfill {version}`")
        ill = _ill(vectors, facts.consumer.gates) if vectors.users_embedded else ""
        if ill:
            return reject(self, f"version {version}: {ill}", "train another version, or promote another one")
        return accept(self, f"{vectors.users_embedded:,} vectors of {version} are finite and of sane norms")


def _ill(vectors: VectorFacts, gates: GateSettings) -> str:
    """The first defect as text; empty for healthy vectors."""
    collapsed = vectors.collapsed_dimensions / vectors.dimension
    priors = vectors.priors / vectors.users_embedded
    if vectors.not_finite:
        return f"{vectors.not_finite:,} vectors hold numbers that are not finite"
    if not vectors.norm_median > 0:  # NaN too
        return f"the median norm is {vectors.norm_median:g}, most vectors say nothing"
    if not vectors.norm_largest <= LARGEST_NORM * vectors.norm_median:
        largest = f"the largest norm is {vectors.norm_largest:.4g}, the median {vectors.norm_median:.4g}"
        return f"{largest}, the limit is {LARGEST_NORM:g} times as much"
    if collapsed > gates.max_collapsed:
        shown, limit = distinct_texts(percent, collapsed, gates.max_collapsed)
        return f"{shown} of the dimensions are the same for everybody, the limit is {limit}"
    if priors > gates.max_prior_share:
        shown, limit = distinct_texts(percent, priors, gates.max_prior_share)
        return f"{shown} of the vectors are the prior, the limit is {limit}"
    return ""
