"""Settings of the training floor."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from portrait.feature_repo.settings import FeatureSettings


class TrainingSettings(FeatureSettings):
    """Settings of training and backfill: the workers, and how much of the machine they take."""

    num_workers: NonNegativeInt = Field(
        default=1, description="Ray Train workers; 0 trains in this process without Ray."
    )
    use_gpu: bool = Field(default=False, description="Give each training worker a GPU.")
    worker_cpus: PositiveInt = Field(default=1, description="CPUs, and so compute threads, of a training worker.")
    max_failures: NonNegativeInt = Field(
        default=3, description="Times a run goes on from its last checkpoint after a worker died."
    )
    study_gpu_share: PositiveFloat = Field(
        default=1.0, description="Part of a GPU that a run of a scaling study takes, where workers have GPUs."
    )
    ray_from_users: PositiveInt = Field(
        default=200_000,
        description="Backfills of so many users or more, and sets of so many labels, go through a Ray Data pool.",
    )
    backfill_workers: PositiveInt = Field(default=2, description="Encoders in the pool of a backfill.")

    @property
    def ray_cpus(self) -> int:
        """Room beside the training workers: without it readers and controllers could never be placed."""
        return max(super().ray_cpus, self.num_workers * self.worker_cpus + 2)
