"""Rules about the consumer's head on a version and the consumer's metric."""

import math
from collections.abc import Sequence
from datetime import datetime

from portrait.registry.gates.rule import GateFacts, Measurement, accept, reject, wait
from portrait.registry.records.verdicts import Verdict


class HeadIsReady:
    """A consumer that wants a head has one on this version."""

    name = "head-is-ready"

    def check(self, facts: GateFacts) -> Verdict:
        """Wait for a head whose fingerprint is the version's."""
        consumer, version = facts.consumer.name, facts.version
        if not facts.consumer.wants_head:
            return accept(self, f"consumer {consumer} asks for no head")
        heads = [head for head in facts.heads if head.fingerprint == version.fingerprint]
        if not heads:
            remedy = f"train one and run `portrait head register {consumer} {version.id}`"
            return wait(self, f"consumer {consumer} has no head on {version.id}", remedy)
        return accept(self, f"head {heads[-1].id} of {consumer} is trained on {version.id}")


class MetricNotWorse:
    """The consumer's metric is no worse than on its present version, within the tolerance that the consumer sets.

    Measurements compare only on the same task, data stamp and as-of. The newest as-of that both versions have counts,
    and at it the newest measurement of each version.
    """

    name = "metric-not-worse"

    def check(self, facts: GateFacts) -> Verdict:
        """Wait until both versions are measured on the same data; reject the worse one."""
        gates, version = facts.consumer.gates, facts.version.id
        if not gates.task:
            return accept(self, f"consumer {facts.consumer.name} names no task to measure")
        what = f"{gates.metric} on {gates.task}"
        mine, present = _newest(facts.measured, facts), _newest(facts.measured_now, facts)
        remedy = f"measure it and run `portrait head register {facts.consumer.name} {version} --task {gates.task}`"
        if not mine:
            return wait(self, f"{what} was never measured on {version}", remedy)
        if facts.assignment is None:
            newest = mine[max(mine)]
            return accept(self, f"{what} is {newest.value:.4g} on {version}, there is no version to compare it with")
        common = mine.keys() & present.keys()
        if not common:
            reason = f"{what} was never measured on the same data stamp and as-of"
            return wait(self, f"{reason} for {version} and {facts.assignment.stable}", remedy)
        return self._compared(facts, mine[max(common)], present[max(common)])

    def _compared(self, facts: GateFacts, mine: Measurement, present: Measurement) -> Verdict:
        gates, version = facts.consumer.gates, facts.version.id
        assert facts.assignment is not None
        worse = present.value - mine.value if gates.higher_is_better else mine.value - present.value
        values = f"{mine.value:.4g} on {version} and {present.value:.4g} on {facts.assignment.stable}"
        reason = f"{gates.metric} on {gates.task} ({mine.data_stamp}, as of {mine.as_of:%Y-%m-%d}) is {values}"
        # in floating point 0.75 - 0.74 is a little more than 0.01
        if worse > gates.tolerance and not math.isclose(worse, gates.tolerance, abs_tol=1e-12):
            told = f"{reason}: worse by {worse:.3g}, the tolerance is {gates.tolerance:g}"
            return reject(self, told, "keep the present version, or train a better one")
        return accept(self, reason)


def _newest(measured: Sequence[Measurement], facts: GateFacts) -> dict[tuple[datetime, str], Measurement]:
    """The newest measurement of the consumer's task and metric, by as-of and data stamp."""
    gates = facts.consumer.gates
    ours = [one for one in measured if (one.task, one.metric) == (gates.task, gates.metric)]
    return {(one.as_of, one.data_stamp): one for one in sorted(ours, key=lambda one: one.measured_at)}
