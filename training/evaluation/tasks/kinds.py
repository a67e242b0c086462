"""Kinds of tasks: one frozen dataclass a kind, whose fields are the keys of its TOML file.

All windows are half-open: events count from a cut on and before its end.
"""

from datetime import UTC, date, datetime, time
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True)


def _utc(value: object) -> object:
    """TOML's dates and times, with a zone or without, as UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("write a date or time, such as 2011-06-10") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    raise ValueError("write a date or time, such as 2011-06-10")


Moment: TypeAlias = Annotated[datetime, BeforeValidator(_utc)]
Days: TypeAlias = Annotated[int, Field(gt=0, le=36_525)]
Texts: TypeAlias = Annotated[tuple[str, ...], Field(strict=False)]
Moments: TypeAlias = Annotated[tuple[Moment, ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Common:
    """Keys of every task."""

    name: str  # given by the file's name
    description: str = ""
    seed: Annotated[NonNegativeInt, Field(lt=2**32)] = 0
    baselines: Texts = ()  # those that `all` means here; none: all that fit


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Counted:
    """The events that count for populations and answers; vectors and baselines always see all of them."""

    actions: Texts = ()  # none: all
    services: Texts = ()
    weight_above: float | None = None


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Answers:
    """The source of the users' classes: a labels file, or a profile field."""

    labels: str | None = None  # NAME of labels/NAME.parquet in the home, or a path beside the task's file
    column: str | None = None  # of the labels file
    profile: str | None = None  # or: the profile field

    @model_validator(mode="after")
    def _one_source(self) -> "Answers":
        if (self.profile is None) == (self.labels is None) or (self.labels is None) != (self.column is None):
            raise ValueError("give labels and column, or profile")
        return self

    @property
    def field(self) -> str:
        """The name of the column or profile field that is asked for."""
        return self.profile or self.column or ""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LabelTask(Common, Answers):
    """Predict a class of users from their vectors; training and test users are disjoint."""

    kind: Literal["label"]
    split: Literal["folds", "users"] = "folds"  # every user tested once, or one user in five
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    as_of: Moment | None = None  # default: everything that is known
    top: PositiveInt | None = None  # so many most frequent classes by name, all others as one; default: all
    metric: Literal["auc", "accuracy"] = "auc"  # the one that is shown first; both are measured


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Cuts:
    """Cuts in time: methods learn at some moments, and are measured at a later one."""

    train_cuts: Moments
    test_cut: Moment

    @model_validator(mode="after")
    def _in_order(self) -> "Cuts":
        if max(self.train_cuts) >= self.test_cut:
            raise ValueError("all train_cuts must lie before test_cut")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ChurnTask(Common, Counted, Cuts):
    """Predict which active users will leave: no counted event in the `horizon_days` from the cut on."""

    kind: Literal["churn"]
    active_days: Days
    horizon_days: Days
    metric: Literal["auc", "accuracy"] = "auc"

    @model_validator(mode="after")
    def _answers_are_known(self) -> "ChurnTask":
        _require_answered(self.train_cuts, self.test_cut, self.horizon_days)
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class InteractTask(Common, Counted, Cuts):
    """Predict the items that a user will have an event with soon, against items drawn for the same user."""

    kind: Literal["interact"]
    horizon_days: Days = 7
    active_days: Days = 180
    negatives: PositiveInt = 20  # for each item that was had
    drawn: Literal["uniform", "popularity"] = "uniform"
    new_only: bool = False  # whether items that the user had before are left out
    k: PositiveInt = 10

    @model_validator(mode="after")
    def _answers_are_known(self) -> "InteractTask":
        _require_answered(self.train_cuts, self.test_cut, self.horizon_days)
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class NextItemTask(Common, Counted):
    """Rank all items for the next event: each user's last one, or the first one after a cut."""

    kind: Literal["next_item"]
    split: Literal["leave_one_out", "time"]
    train_cuts: Annotated[tuple[Moment, ...], Field(strict=False)] = ()  # for the split by time
    test_cut: Moment | None = None
    horizon_days: Days = 30
    active_days: Days = 180
    new_only: bool = True
    k: PositiveInt = 10

    @model_validator(mode="after")
    def _split_is_told(self) -> "NextItemTask":
        told = bool(self.train_cuts) and self.test_cut is not None
        if told != (self.split == "time") or (self.train_cuts and self.test_cut is None):
            raise ValueError('split = "time" needs train_cuts and test_cut, split = "leave_one_out" has neither')
        if self.test_cut is not None:
            _require_answered(self.train_cuts, self.test_cut, self.horizon_days)
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class FirstHoursTask(Common, Counted):
    """Predict users' items right after sign-up from what they said then; learnt on those who came before the cut."""

    kind: Literal["first_hours"]
    cut: Moment
    hours: Annotated[float, Field(gt=0, le=24 * 366)] = 4.0
    onboarding: bool = True  # whether picks at sign-up may be seen
    negatives: PositiveInt = 20
    drawn: Literal["uniform", "popularity"] = "uniform"
    k: PositiveInt = 10


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CrossServiceTask(Common):
    """CLUE's transfer: rank one service's items by what was done in it, in others, or in both; users are disjoint.

    A registered version has seen everybody, so its recipe is trained again on the training users alone.
    """

    kind: Literal["cross_service"]
    target: str
    seen: Literal["own", "other", "both"] = "other"
    clock: bool = True  # whether the services' times can be compared
    as_of: Moment | None = None
    k: PositiveInt = 10


@dataclass(frozen=True, config=STRICT, kw_only=True)
class NeighboursTask(Common, Answers):
    """Compare the clusters of a user's nearest users with the user's own: nDCG@k by cosine; nothing is trained."""

    kind: Literal["neighbours"]
    as_of: Moment | None = None
    k: PositiveInt = 50


Task: TypeAlias = (
    LabelTask | ChurnTask | InteractTask | NextItemTask | FirstHoursTask | CrossServiceTask | NeighboursTask
)
KINDS: dict[str, type[Task]] = {
    "label": LabelTask,
    "churn": ChurnTask,
    "interact": InteractTask,
    "next_item": NextItemTask,
    "first_hours": FirstHoursTask,
    "cross_service": CrossServiceTask,
    "neighbours": NeighboursTask,
}


def _require_answered(train_cuts: tuple[datetime, ...], test_cut: datetime, horizon_days: int) -> None:
    """The answers of the last training cut must be there at the test cut: nobody could have learnt from later ones."""
    last = max(train_cuts)
    if (test_cut - last).total_seconds() < horizon_days * 86_400:
        raise ValueError(
            f"train_cuts has {last:%Y-%m-%d}, whose {horizon_days} days of answers end after the test_cut "
            f"{test_cut:%Y-%m-%d}: choose an earlier one"
        )
