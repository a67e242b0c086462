"""Rules about coverage: how many of the users have a stored vector."""

import math

from portrait.registry.gates.rule import GateFacts, accept, current_vectors, wait
from portrait.registry.gates.wording import distinct_texts, percent
from portrait.registry.records.evidence_facts import VectorFacts
from portrait.registry.records.verdicts import Verdict

DEVIATIONS = 4.0
"""Standard deviations of its draw by which a sample may fall short: one draw in 30,000 does so by chance."""


class CoverageIsComplete:
    """The newest finished backfill embedded its whole snapshot, and nearly all users known today have a vector."""

    name = "coverage-is-complete"

    def check(self, facts: GateFacts) -> Verdict:
        """Wait for a backfill that covers all users."""
        version, backfill = facts.version, facts.backfill
        remedy = f"run `portrait backfill {version.id}`"
        if backfill is None:
            return wait(self, f"version {version.id} has no finished backfill", remedy)
        done, expected = backfill.users_done, backfill.users_expected
        if done < expected:
            reason = f"version {version.id} covers {done:,} of {expected:,} users ({done / expected:.1%})"
            return wait(self, reason, remedy)
        vectors = current_vectors(self, facts)
        if isinstance(vectors, Verdict):
            return vectors
        covered = vectors.users_embedded / vectors.users_sampled if vectors.users_sampled else 1.0
        if covered < facts.consumer.gates.min_coverage:
            shown, wanted = distinct_texts(percent, covered, facts.consumer.gates.min_coverage)
            return wait(self, f"version {version.id} covers {shown} of users, the gate wants {wanted}", remedy)
        counted = f"{vectors.users_embedded:,} of {vectors.users_sampled:,} users looked at"
        return accept(self, f"{counted} have a vector of {version.id}")


class VectorsStillCover:
    """The users that the version's own backfill embedded still have their vectors.

    Users who came after the version was left need none: of the users known today, a sampled one is expected to be
    embedded with the probability p = users_expected / users_known (at most 1), users_expected being those of the
    newest finished backfill. Of n sampled users at least min_coverage * n * p must be embedded, less DEVIATIONS
    standard deviations of such a draw without replacement, sqrt(n * p * (1 - p) * (known - n) / (known - 1)).
    A sample of everybody has no deviation.
    """

    name = "vectors-still-cover"

    def check(self, facts: GateFacts) -> Verdict:
        """Wait for a backfill when too many vectors are gone."""
        version, backfill = facts.version, facts.backfill
        remedy = f"run `portrait backfill {version.id}`"
        if backfill is None:
            return wait(self, f"version {version.id} has no finished backfill", remedy)
        vectors = current_vectors(self, facts)
        if isinstance(vectors, Verdict):
            return vectors
        found, needed = vectors.users_embedded, _users_needed(vectors, backfill.users_expected, facts)
        counted = f"{found:,} of {vectors.users_sampled:,} users looked at have a vector of {version.id}"
        if found < needed:
            return wait(self, f"{counted}, {needed:,} of them had one after its backfill", remedy)
        return accept(self, f"{counted}, its backfill asks for {needed:,}")


def _users_needed(vectors: VectorFacts, expected: int, facts: GateFacts) -> int:
    known, sampled = vectors.users_known, vectors.users_sampled
    share = min(1.0, expected / known) if known else 0.0
    left_out = (known - sampled) / (known - 1) if known > 1 else 0.0
    deviation = math.sqrt(max(0.0, sampled * share * (1 - share) * left_out))
    # Without the small term, rounding would make 0.9 * 10 ask for 10.
    needed = facts.consumer.gates.min_coverage * sampled * share - DEVIATIONS * deviation
    return max(0, math.ceil(needed - 1e-9))
