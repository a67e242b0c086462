"""The numbers of the suite: its measurements, and the changes and verdicts that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from portrait.training.evaluation.suites.cost.blocks import NAME as CURATED
from portrait.training.evaluation.suites.cost.models import MeasuredModel
from portrait.training.evaluation.suites.cost.reads import Latency
from portrait.training.evaluation.suites.cost.scores import Score
from portrait.training.evaluation.suites.cost.stores import Held

PAPER = -0.5
"""GUR: infrastructure and feature cost of the artist-preference model, at equal metrics."""

ROUGHLY = 0.5  # share of the paper's figure from which on a change is of the same rough size


HEADS = "training, five heads"
INPUT_VIEWS = 2  # history and profile: the shared model's inputs have to be kept too


class CostVerdict(StrEnum):
    """Whether the measurements confirm the paper's claim."""

    HOLDS = "holds"
    SIGN = "sign alone"
    FAILS = "does not hold"


class MetricComparison(StrEnum):
    """The shared vector's metric beside that of curated features."""

    EQUAL = "equal within the intervals"
    BETTER = "vector better"
    WORSE = "vector worse"


@dataclass(frozen=True)
class Reads:
    """A consumer's request for one user."""

    consumer: str
    curated: Latency  # by Feast
    shared: Latency  # the vector, by Feast
    reader: Latency  # the vector, by Portrait's reader
    curated_lookups: int  # views that Feast reads for one request
    shared_lookups: int
    curated_bytes: int  # of the answer as JSON, in the mean
    shared_bytes: int
    reader_bytes: int


@dataclass(frozen=True)
class CostChange:
    """One measure of both sides, summed over the consumers."""

    what: str
    unit: str
    curated: float
    shared: float

    @property
    def relative(self) -> float:
        """Relative change from curated to shared: -0.5 is half the cost."""
        return self.shared / self.curated - 1

    @property
    def verdict(self) -> CostVerdict:
        """The change judged against the paper's figure."""
        if self.relative <= PAPER * ROUGHLY:
            return CostVerdict.HOLDS
        return CostVerdict.SIGN if self.relative < 0 else CostVerdict.FAILS


@dataclass(frozen=True)
class Cost:
    """The whole comparison."""

    data: str  # id of the snapshot
    users: int
    store: str  # kind of the online store
    held_how: str  # how bytes are measured
    shared: str  # the model that the five read
    models: Sequence[MeasuredModel]
    scores: Sequence[Score]
    curated: Sequence[Held]  # by consumer
    vectors: Sequence[Held]  # by model
    reads: Sequence[Reads]
    inputs: Held  # raw histories and profiles, which near-real-time refresh of vectors reads online
    feast_seconds: float  # of Feast materialising the shared vectors

    def score(self, consumer: str, method: str) -> Score:
        return next(one for one in self.scores if (one.consumer, one.method) == (consumer, method))

    def metrics(self, consumer: str, model: str | None = None) -> MetricComparison:
        """The comparison of a vector's metric with that of the consumer's own features."""
        own, vector = self.score(consumer, CURATED), self.score(consumer, model or self.shared)
        if vector.low > own.high:
            return MetricComparison.BETTER
        return MetricComparison.WORSE if vector.high < own.low else MetricComparison.EQUAL

    @property
    def vector(self) -> Held:
        """Bytes and seconds of the shared vectors in the store."""
        return self.held(self.shared)

    def held(self, model: str) -> Held:
        return next(one for one in self.vectors if one.name == model)

    @property
    def model(self) -> MeasuredModel:
        """The model that the five consumers share."""
        return next(one for one in self.models if one.name == self.shared)

    @property
    def representation_seconds(self) -> float:
        """Seconds that the shared side pays once: training, and embedding all users."""
        return self.model.train_seconds + self.vector.compute_seconds + self.vector.write_seconds

    @property
    def changes(self) -> list[CostChange]:
        """Every measure that has two sides."""
        own = [one for one in self.scores if one.method == CURATED]
        heads = [one for one in self.scores if one.method == self.shared]
        trained, fitted = (sum(s.features_seconds + s.head_seconds for s in side) for side in (own, heads))
        kept, vector, reads = self.curated, self.vector, self.reads
        computed, made = vector.compute_seconds, sum(one.compute_seconds + one.write_seconds for one in kept)
        held, own_numbers = sum(one.bytes_per_user for one in kept), sum(one.numbers for one in kept)
        return [
            CostChange("online store", "bytes a user", held, vector.bytes_per_user),
            CostChange(
                "online, raw inputs too", "bytes a user", held, vector.bytes_per_user + self.inputs.bytes_per_user
            ),
            CostChange("numbers online", "a user", own_numbers, vector.numbers),
            CostChange("features to keep", "columns", own_numbers, 1 + self.inputs.numbers),
            CostChange("pipelines to keep", "views", len(kept), 1 + INPUT_VIEWS),
            CostChange("batch of all, both by Feast", "seconds", made, computed + self.feast_seconds),
            CostChange("batch of all, by a backfill", "seconds", made, computed + vector.write_seconds),
            CostChange(HEADS, "seconds", trained, fitted),
            CostChange("training, representation too", "seconds", trained, fitted + self.representation_seconds),
            CostChange(
                "answers to five consumers",
                "bytes",
                sum(one.curated_bytes for one in reads),
                sum(one.shared_bytes for one in reads),
            ),
            CostChange(
                "five requests by Feast",
                "ms at p50",
                sum(one.curated.p50_ms for one in reads),
                sum(one.shared.p50_ms for one in reads),
            ),
            CostChange(
                "five requests by the reader",
                "ms at p50",
                sum(one.curated.p50_ms for one in reads),
                sum(one.reader.p50_ms for one in reads),
            ),
        ]
