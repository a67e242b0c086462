"""A head of a consumer from pinned training sets: users split, fitted, measured with an interval, kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from feature_repo.log.staging import working_folder
from feature_repo.schemas import from_microseconds
from registry.errors import Conflict, FingerprintMismatch, InvalidInput
from registry.records import EmbeddingVersion
from training.evaluation.cross_service import Part, part_of
from training.heads.examples import Labelled
from training.heads.head import About, Head, fit, load_head
from training.heads.measures import Interval, auc_interval, measures
from training.pinned.stamp import TrainingSet, read_sets

FOLDER = "heads"
FEWEST = 10  # users of each part


@dataclass(frozen=True)
class HeadRequest:
    """Which head to train."""

    consumer: str
    version: EmbeddingVersion
    data: tuple[Path, ...]
    label: str
    kind: str = "logistic"
    name: str = ""  # of its folder; by default it says what the head is
    seed: int = 0


@dataclass(frozen=True)
class TrainedHead:
    """A kept head and how good it is on users whom it has never seen."""

    head: Head
    location: str  # relative to the home
    as_of: datetime  # the newest of the vectors that it was measured on
    examples: dict[str, int]  # by part
    users: dict[str, int]
    unlabelled: int
    unseen: int  # examples of the validation and test users, of classes that no training user has
    auc: Interval


def train_head(home: Path, request: HeadRequest) -> TrainedHead:
    """Train a head on users apart from those that choose and those that measure, and keep it under `<home>/heads/`.

    The same request gives the same head. Raises FingerprintMismatch, with both, for training sets of two versions or of
    another one than asked for; InvalidInput for too little data; Conflict when the name is another head's.
    """
    given = read_sets(request.data, request.label)
    _require_version(given, request)
    rows = _split(given)
    names = sorted({given.labels[row] for row in rows[Part.TRAIN]})
    parts = {part: _examples(given, which, names) for part, which in rows.items()}
    about = About(
        request.version.id, given.stamp.fingerprint, given.vectors.shape[1], request.label, given.stamp.data_stamp
    )
    head = fit(request.kind, about, parts[Part.TRAIN], parts[Part.VALIDATION], request.seed)
    test = parts[Part.TEST]
    scores = head.scores(test.vectors, given.stamp.fingerprint)
    interval = auc_interval(scores, test.codes, [given.users[row] for row in rows[Part.TEST]])
    found = measures(scores, test.codes) | {"auc_low": interval.low, "auc_high": interval.high}
    head = replace(head, about=replace(about, metrics=found))
    return TrainedHead(
        head=head,
        location=str(_keep(home, request, head).relative_to(home)),
        as_of=from_microseconds(int(given.as_of[rows[Part.TEST]].max())),
        examples={part: len(which) for part, which in rows.items()},
        users={part: len({given.users[row] for row in which}) for part, which in rows.items()},
        unlabelled=given.unlabelled,
        unseen=sum(int((parts[part].codes < 0).sum()) for part in (Part.VALIDATION, Part.TEST)),
        auc=interval,
    )


def _require_version(given: TrainingSet, request: HeadRequest) -> None:
    stamp, version = given.stamp, request.version
    if stamp.fingerprint != version.fingerprint:
        raise FingerprintMismatch(
            f"the training set holds vectors of {stamp.version} with fingerprint {stamp.fingerprint}, a head of "
            f"{request.consumer} on {version.id} needs those with {version.fingerprint}: make a training set with "
            f"`portrait dataset {request.consumer} --version {version.id}`, or name --version {stamp.version}"
        )


def _split(given: TrainingSet) -> dict[Part, np.ndarray]:
    """Rows of each part; all rows of a user are in one, the same in every set and at every version."""
    part_of_user = {user: part_of(user) for user in set(given.users)}
    parts = np.array([part_of_user[user] for user in given.users])
    for part in Part:
        users = sum(one == part for one in part_of_user.values())
        if users < FEWEST:
            raise InvalidInput(
                f"{users} of {len(part_of_user)} labelled users fall into the {part} part, a head needs {FEWEST}: "
                "give more labels"
            )
    return {part: np.flatnonzero(parts == part) for part in Part}


def _examples(given: TrainingSet, rows: np.ndarray, names: Sequence[str]) -> Labelled:
    return Labelled.of(given.vectors[rows], [given.labels[row] for row in rows], names)


def _keep(home: Path, request: HeadRequest, head: Head) -> Path:
    """Write the head's folder whole, or find that it is there already."""
    about = head.about
    name = request.name or f"{about.task}-{head.kind}-{about.version}-{about.data_stamp[:8]}-{request.seed}"
    if not name or "/" in name or name.startswith("."):
        raise InvalidInput(f"a head cannot be called {name!r}: it names a folder, give --name")
    final = home / FOLDER / request.consumer / name
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(home, "head") as working:
            hidden = working / name
            hidden.mkdir()
            head.save(hidden)
            hidden.rename(final)
    elif load_head(final).about != about:
        raise Conflict(f"{final} holds another head: choose another --name")
    return final
