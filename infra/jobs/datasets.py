"""Pinned training sets and heads of a consumer, composed from registry, features and training."""

from pathlib import Path

from portrait.infra.portrait import Portrait
from portrait.registry.consumers.heads import NewHead
from portrait.registry.errors import Conflict
from portrait.registry.progress import Progress
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.records.records import Head as HeadRecord
from portrait.training.heads.trained import HeadReport, HeadRequest, train_head
from portrait.training.pinned.make import Made, Request, make


def version_of(portrait: Portrait, consumer: str, version: str | None) -> EmbeddingVersion:
    """The named version, or the one that the consumer reads; raises NotFound, or Conflict when it reads none."""
    assignment = portrait.registry.consumers.assignment(consumer)
    if version is None and assignment is None:
        raise Conflict(f"consumer {consumer} reads no version yet: name one with --version, or promote it")
    return portrait.registry.versions.get(version or (assignment.stable if assignment else ""))


def make_dataset(
    portrait: Portrait,
    consumer: str,
    labels: Path,
    out: Path,
    version: str | None,
    grid: str,
    after_training: bool,
    progress: Progress | None = None,
) -> Made:
    """Make a pinned training set of a consumer from a file of labels."""
    request = Request(consumer, version_of(portrait, consumer, version), labels, out.absolute(), grid, after_training)
    return make(portrait.repo, request, portrait.settings, progress)


def train_and_register(
    portrait: Portrait,
    consumer: str,
    data: tuple[Path, ...],
    label: str,
    kind: str,
    name: str,
    version: str | None,
    service: str = "",
) -> tuple[HeadReport, HeadRecord]:
    """Train a head of a consumer, keep it, and register it with its metrics, so that promotion gates read them."""
    request = HeadRequest(consumer, version_of(portrait, consumer, version), data, label, kind, name, service)
    trained = train_head(portrait.settings.home, request, portrait.log.forgotten_among)
    about = trained.head.about
    new = NewHead(
        consumer=consumer,
        version=about.version,
        fingerprint=about.fingerprint,
        task=about.task,
        data_stamp=about.data_stamp,
        as_of=trained.as_of,
        metrics=about.metrics,
        location=trained.location,
    )
    return trained, portrait.registry.heads.register(new)
