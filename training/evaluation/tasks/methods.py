"""Methods that tasks measure: the vectors of versions, which are taken as they are, and baselines, which are fitted."""

from dataclasses import dataclass, replace

from portrait.training.baselines.baseline import Ranker, Suits, UserFeatures
from portrait.training.baselines.catalogue import FEATURES, RANKINGS, feature_baseline, ranking_baseline
from portrait.training.baselines.random_encoder import EncoderFeatures
from portrait.training.encoding.encoder import Encoder
from portrait.training.runs.training_inputs import TrainingInputs

WITHOUT_ITEMS = ("recency", "rfm")
BY_TOWERS = ("mean-items", "mean-onboarding", "random-encoder")
"""Features that rank items through the same head as a version's vectors; the other baselines rank by themselves."""


@dataclass(frozen=True)
class Method:
    """A named way to features of users, or to a ranking of items."""

    name: str
    suits: Suits = Suits.LINEAR
    encoder: Encoder | None = None  # of a version

    def features(self, inputs: TrainingInputs, seed: int) -> UserFeatures:
        """Features of users, fitted on the inputs unless the method is a version."""
        if self.encoder is not None:
            return EncoderFeatures(self.encoder)
        return feature_baseline(self.name).fit(_of_all(inputs), seed)

    @property
    def ranks(self) -> bool:
        """Whether it ranks by itself, without a head."""
        return self.encoder is None and self.name in RANKINGS

    def ranker(self, inputs: TrainingInputs, seed: int) -> Ranker:
        """The method's own ranker, fitted on the inputs."""
        return ranking_baseline(self.name).fit(_of_all(inputs), seed)


def _of_all(inputs: TrainingInputs) -> TrainingInputs:
    """Inputs without the teams' fields: a baseline is the same beside any version, whichever views that reads."""
    team = {field.name for field in inputs.schema.team}
    hidden = tuple(name for name in inputs.exclude if name not in team)
    return replace(inputs, schema=replace(inputs.schema, team=()), exclude=hidden)


def baseline_method(name: str) -> Method:
    if name in RANKINGS and name not in FEATURES:
        return Method(name)
    return Method(name, feature_baseline(name).suits)


def baselines_for(kind: str) -> list[str]:
    """Names of the baselines that a kind of task can be given."""
    if kind in ("label", "churn"):
        return list(FEATURES)
    if kind == "neighbours":
        return [name for name in FEATURES if name not in WITHOUT_ITEMS]
    return [*RANKINGS, *BY_TOWERS]
