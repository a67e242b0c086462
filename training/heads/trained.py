"""The training of a consumer's head from pinned training sets: split of users, fit, measurement, artifact."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from portrait.feature_repo.log.staging import working_folder
from portrait.feature_repo.schemas import from_microseconds
from portrait.registry.errors import Conflict, FingerprintMismatch, InvalidInput
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.arrays import UNKNOWN
from portrait.training.encoding.artifact import load_content
from portrait.training.encoding.vocabulary import item_key, service_of
from portrait.training.heads import kinds
from portrait.training.heads.examples import Chosen, Items, Labelled
from portrait.training.heads.head import About, FittedHead, fit, load_head
from portrait.training.metrics.classes import Interval, auc_interval, mean_interval, measures
from portrait.training.metrics.ranking import BLOCK, K, full_ranks, ndcg, recall
from portrait.training.metrics.user_split import UserPart, part_of
from portrait.training.pinned.stamp import TrainingSet, read_sets

FOLDER = "heads"
FEWEST = 10  # users of each part


@dataclass(frozen=True)
class HeadRequest:
    """The head to train, and the sets to train it on."""

    consumer: str
    version: EmbeddingVersion
    data: tuple[Path, ...]
    label: str
    kind: str = "logistic"
    name: str = ""  # of its folder; by default made from task, kind, version, data and seed
    service: str = ""  # whose items the label names, for a kind that ranks items
    seed: int = 0


@dataclass(frozen=True)
class HeadReport:
    """A kept head, and its metric on users whom it has never seen."""

    head: FittedHead
    location: str  # relative to the home
    as_of: datetime  # the newest of the vectors that it was measured on
    examples: dict[str, int]  # by part
    users: dict[str, int]
    unlabelled: int
    forgotten: int  # users of the sets who were forgotten since these were made, and are left out
    unseen: int  # examples of the validation and test users, of classes or items that no training user has
    measured: str  # the metric of the interval: auc of classes, ndcg@10 of items
    interval: Interval  # of it, over test users

    @property
    def ranks(self) -> bool:
        """Whether its names are items and not classes."""
        return kinds.get(self.head.kind).examples is Chosen


def _nobody(_: Collection[str]) -> set[str]:
    return set()


def train_head(
    home: Path, request: HeadRequest, forgotten_among: Callable[[Collection[str]], set[str]] = _nobody
) -> HeadReport:
    """Train a head, choose its settings and measure it on disjoint users, and keep it under `<home>/heads/`.

    A set may be older than a forgetting: rows of users whom `forgotten_among` names are left out, and counted.
    The same request gives the same head. One that ranks items knows those that training users had, by the version's own
    item vectors. Raises FingerprintMismatch, with both, for training sets of two versions or of
    another one than asked for; InvalidInput for too little data; Conflict when the name is another head's.
    """
    ranks = kinds.get(request.kind).examples is Chosen
    if ranks != bool(request.service):
        told = "needs a service whose items the label names" if ranks else "tells classes apart, it has no service"
        raise InvalidInput(f"a head of kind {request.kind} {told}: {'give' if ranks else 'leave out'} --service")
    given = read_sets(request.data, request.label)
    _require_version(given, request)
    forgotten = forgotten_among(sorted(set(given.users)))
    given = given.without(forgotten)
    rows = _split_rows(given)
    names = sorted({given.labels[row] for row in rows[UserPart.TRAIN]})
    parts = {part: _examples(given, which, names) for part, which in rows.items()}
    items = (
        _items(home, request, parts[UserPart.TRAIN], [given.users[row] for row in rows[UserPart.TRAIN]])
        if ranks
        else None
    )
    about = About(
        request.version.id, given.stamp.fingerprint, given.vectors.shape[1], request.label, given.stamp.data_stamp
    )
    train, choose = (
        _item_examples(parts[part], items) if items else parts[part] for part in (UserPart.TRAIN, UserPart.VALIDATION)
    )
    head = fit(request.kind, about, train, choose, request.seed)
    measured, measure = ("ndcg@10", _measure_ranking) if ranks else ("auc", _measure_classes)
    found, interval = measure(head, parts[UserPart.TEST], [given.users[row] for row in rows[UserPart.TEST]])
    found |= {f"{measured}_low": interval.low, f"{measured}_high": interval.high}
    head = replace(head, about=replace(about, metrics=found))
    return HeadReport(
        head=head,
        location=str(_keep(home, request, head).relative_to(home)),
        as_of=from_microseconds(int(given.as_of[rows[UserPart.TEST]].max())),
        examples={part: len(which) for part, which in rows.items()},
        users={part: len({given.users[row] for row in which}) for part, which in rows.items()},
        unlabelled=given.unlabelled,
        forgotten=len(forgotten),
        unseen=sum(int((parts[part].codes < 0).sum()) for part in (UserPart.VALIDATION, UserPart.TEST)),
        measured=measured,
        interval=interval,
    )


def _measure_classes(head: FittedHead, test: Labelled, users: list[str]) -> tuple[dict[str, float], Interval]:
    scores = head.scores(test.vectors, head.about.fingerprint)
    return measures(scores, test.codes), auc_interval(scores, test.codes, users)


def _measure_ranking(head: FittedHead, test: Labelled, users: list[str]) -> tuple[dict[str, float], Interval]:
    """Hit rate and nDCG among all items; an item that no training user had is a miss."""
    ranks = np.full(len(test), K)
    known = np.flatnonzero(test.codes != UNKNOWN)
    for at in np.array_split(known, 1 + len(known) * len(test.names) // BLOCK):
        scores = head.scores(test.vectors[at], head.about.fingerprint)
        ranks[at] = full_ranks(scores, test.codes[at], _nothing(len(scores), len(test.names)))
    _, owner = np.unique(np.asarray(users, dtype=np.str_), return_inverse=True)
    interval = mean_interval(ndcg(ranks), owner.astype(np.int64))
    return {f"hr@{K}": float(recall(ranks).mean()), f"ndcg@{K}": interval.value}, interval


def _items(home: Path, request: HeadRequest, train: Labelled, users: list[str]) -> Items:
    """The items that training users had, in the order of the label's names, as the version knows them."""
    version = request.version
    content = load_content(home / version.artifact, version.fingerprint)
    if not content.item_vectors:
        raise InvalidInput(
            f"{version.id} was trained without item vectors, which {request.kind} ranks by: name another"
        )
    known = np.concatenate([content.item_vectors[name] for name in sorted(content.item_vectors)], axis=1)
    place = {key: number for number, key in enumerate(content.items)}
    keys = tuple(item_key(request.service, name) for name in train.names)
    rows = np.array([place.get(key, UNKNOWN) for key in keys], dtype=np.int64)
    if (rows == UNKNOWN).all():
        services = ", ".join(sorted({service_of(key) for key in content.items}))
        raise InvalidInput(
            f"{version.id} knows none of the items in `{request.label}` ({train.names[0]!r}, ...) as one of "
            f"{request.service!r}; it knows items of: {services}"
        )
    features = np.where((rows == UNKNOWN)[:, None], np.nan, known[rows]).astype(np.float32)
    had = np.array([code for _, code in set(zip(users, train.codes.tolist(), strict=True))])
    return Items(features, np.bincount(had, minlength=len(keys)).astype(np.int64), keys)


def _item_examples(examples: Labelled, items: Items) -> Chosen:
    known = examples.known()
    if not len(known):
        raise InvalidInput("the validation users had no item that a training user had: give more labels")
    return Chosen(known.vectors, known.codes, _nothing(len(known), len(items.names)), items)


def _nothing(users: int, items: int) -> csr_array:
    """Bool [users, items] marks that leave no item out of a ranking."""
    return csr_array((users, items), dtype=np.bool_)


def _require_version(given: TrainingSet, request: HeadRequest) -> None:
    stamp, version = given.stamp, request.version
    if stamp.fingerprint != version.fingerprint:
        raise FingerprintMismatch(
            f"the training set holds vectors of {stamp.version} with fingerprint {stamp.fingerprint}, a head of "
            f"{request.consumer} on {version.id} needs those with {version.fingerprint}: make a training set with "
            f"`portrait dataset {request.consumer} --version {version.id}`, or name --version {stamp.version}"
        )


def _split_rows(given: TrainingSet) -> dict[UserPart, np.ndarray]:
    """Rows of each part; all rows of a user are in one, the same in every set and at every version."""
    part_of_user = {user: part_of(user) for user in set(given.users)}
    parts = np.array([part_of_user[user] for user in given.users])
    for part in UserPart:
        users = sum(one == part for one in part_of_user.values())
        if users < FEWEST:
            raise InvalidInput(
                f"{users} of {len(part_of_user)} labelled users fall into the {part} part, a head needs {FEWEST}: "
                "give more labels"
            )
    return {part: np.flatnonzero(parts == part) for part in UserPart}


def _examples(given: TrainingSet, rows: np.ndarray, names: Sequence[str]) -> Labelled:
    return Labelled.from_labels(given.vectors[rows], [given.labels[row] for row in rows], names)


def _keep(home: Path, request: HeadRequest, head: FittedHead) -> Path:
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
