"""The inputs of a training run, from a snapshot of an instance."""

from collections.abc import Sequence

from portrait.feature_repo.history.catalogue import catalogue, items_position
from portrait.feature_repo.history.snapshot_cut import Snapshot
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import read_inputs_offline
from portrait.training.runs.training_inputs import TrainingInputs


def inputs_of(repo: FeatureRepo, snapshot: Snapshot, exclude: Sequence[str] = ()) -> TrainingInputs:
    """All users of the snapshot with the teams' features, and the catalogue as it is now."""
    position = items_position(repo.log)  # before the catalogue, which then has at least these rows
    return TrainingInputs(
        tables=lambda: (read_inputs_offline(repo, snapshot, bucket) for bucket in sorted(snapshot.buckets)),
        users=snapshot.users,
        as_of=snapshot.as_of,
        snapshot=snapshot.id,
        data_from=snapshot.data_from,
        catalogue=catalogue(repo.log),
        schema=repo.input_schema(),
        exclude=tuple(exclude),
        items_position=position,
    )
