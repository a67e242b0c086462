"""Team views: features that teams add to the inputs of representation models.

A team puts a Python file beside definitions.py, or into a folder there, declares a FeatureView on
`portrait.feature_repo.entities.user`, and joins it to the models' inputs by one tag:

    from portrait.feature_repo.entities import user

    listening = FeatureView(name="listening", entities=[user], tags={"representation_inputs": "true"}, ...)

That is all: the view becomes part of the feature service `representation_inputs`, a block of every model
trained from then on, and part of its fingerprint.
"""

from dataclasses import dataclass
from pathlib import Path

from feast import FeatureService, FeatureView
from feast.infra.registry.base_registry import BaseRegistry
from feast.types import Array, FeastType, Float32, Float64

from portrait.feature_repo.declaration.feature_types import arrow_type
from portrait.feature_repo.declaration.input_schema import Field, FieldKind, kind_of
from portrait.feature_repo.declaration.team_files import team_modules
from portrait.feature_repo.declaration.views import HISTORY_VIEW, INPUTS_SERVICE, PROFILE_VIEW
from portrait.feature_repo.entities import user
from portrait.registry.errors import InvalidInput

JOINS = {INPUTS_SERVICE: "true"}
"""The tag by which a team's view joins."""


@dataclass(frozen=True)
class TeamFeature:
    """One feature of a team's view that representation models use."""

    view: str
    feature: str
    type: FeastType
    length: int = 1

    @property
    def column(self) -> str:
        """Its column in tables of inputs."""
        return f"{self.view}__{self.feature}"

    @property
    def field(self) -> Field:
        """The field that a model sees. Raises InvalidInput for a type that no model can use."""
        if self.type in (Array(Float32), Array(Float64)):
            if self.length < 2:
                raise InvalidInput(f"{self.view}:{self.feature} is a list of unknown length: give it a vector_length")
            return Field(self.column, FieldKind.VECTOR, self.length)
        return Field(self.column, kind_of(arrow_type(self.type)))


def load_team_views(folder: Path) -> list[FeatureView]:
    """The views that the files in this folder join to the inputs, sorted by name.

    Imports the files as Feast does, so that both see the same objects. Raises InvalidInput for a view that
    cannot be fed to a model, and for a file that Feast would overlook.
    """
    views: dict[str, FeatureView] = {}
    for module in team_modules(folder):
        found = (value for value in vars(module).values() if isinstance(value, FeatureView))
        views |= {view.name: view for view in found if view.tags.get(INPUTS_SERVICE) == JOINS[INPUTS_SERVICE]}
    for view in views.values():
        _require_fit(view)
    return [views[name] for name in sorted(views)]


def applied_team_views(registry: BaseRegistry, project: str) -> list[FeatureView]:
    """The teams' views of the applied service `representation_inputs`, from the registry's cache."""
    inputs: FeatureService = registry.get_feature_service(INPUTS_SERVICE, project, allow_cache=True)
    names = {projection.name for projection in inputs.feature_view_projections} - {HISTORY_VIEW, PROFILE_VIEW}
    return [registry.get_feature_view(name, project, allow_cache=True) for name in sorted(names)]


def team_features(view: FeatureView) -> list[TeamFeature]:
    return [
        TeamFeature(view.name, feature.name, feature.dtype, max(feature.vector_length, 1)) for feature in view.features
    ]


def _require_fit(view: FeatureView) -> None:
    if view.entities != [user.name]:
        raise InvalidInput(f"view {view.name} is keyed by {view.entities}: only views of [{user.name!r}] can join")
    if not view.features or not view.online or view.batch_source is None:
        raise InvalidInput(f"view {view.name} needs a schema, online=True and a batch source to be an input")
    for feature in team_features(view):
        feature.field  # noqa: B018  # raises for types that no model can use
