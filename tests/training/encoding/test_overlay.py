"""Batch, export and compute-on-read all know new items: the same vectors, whichever of them computes."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.catalogue import items_position
from portrait.feature_repo.log.forgotten import Forgotten
from portrait.feature_repo.log.inbox import ArrivingRecord, Inbox
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.schemas import microseconds
from portrait.infra.jobs.versions import take_in
from portrait.infra.portrait import Portrait
from portrait.training.backfill.backfill import backfill
from portrait.training.backfill.vectors_at_rest import export
from portrait.training.encoding import later_items as new_items
from portrait.training.encoding.encoder import load_encoder
from portrait.training.encoding.later_items import NewItems

USER = "newcomer"


@pytest.fixture
def instance(either_registered: Portrait, tmp_path: Path) -> Portrait:
    """A user whose events are all on an item that came after training, whose text is in the inbox."""
    item = {"service": "music", "item_id": "brand-new", "text": "orbit comet lunar song"}
    inbox = Inbox(either_registered.database, Forgotten(either_registered.settings.home))
    inbox.accept([ArrivingRecord(SegmentKind.ITEMS, ITEMS_BUCKET, json.dumps(item))])
    newest = either_registered.log.watermark()
    assert newest is not None
    times = [newest + timedelta(hours=hour) for hour in range(1, 4)]
    events = [{"user_id": USER, "item_id": "brand-new", "service": "music", "event_time": time} for time in times]
    pq.write_table(pa.Table.from_pylist(events), tmp_path / "events.parquet")
    take_in(either_registered, tmp_path / "events.parquet", None, None)
    either_registered.registry.consumers.add("reader", "team")
    return either_registered


def test_all_who_compute_agree(instance: Portrait, version_id: str, tmp_path: Path) -> None:
    version = instance.registry.versions.get(version_id)
    snapshot = export(instance.repo, version, tmp_path / "vectors.parquet")
    table = pq.read_table(tmp_path / "vectors.parquet")
    exported = np.array(table["vector"].to_pylist()[table["user_id"].to_pylist().index(USER)], np.float32)

    as_of = microseconds(snapshot.as_of)
    inputs = instance.repo.read_inputs([USER])
    encoder = load_encoder(instance.settings.home / version.artifact, version.fingerprint)
    without = encoder.encode(inputs, as_of)[0]
    NewItems(instance.log).bring(encoder)
    with_it = encoder.encode(inputs, as_of)[0]
    assert np.abs(with_it - without).max() > 0.01
    np.testing.assert_allclose(exported, with_it, rtol=0, atol=1e-5)

    computed = instance.reader.encoders.get(version).encode(inputs, as_of)[0]
    np.testing.assert_array_equal(computed, with_it)

    backfill(instance.repo, version.id, instance.settings)
    stored = instance.repo.read_vectors(version, [USER])
    assert stored.as_of.tolist() == [as_of]
    np.testing.assert_allclose(stored.vectors[0], with_it, rtol=0, atol=1e-5)


def test_bringing_up_reads_what_is_new_and_no_more(
    instance: Portrait, version_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = instance.registry.versions.get(version_id)
    encoder = load_encoder(instance.settings.home / version.artifact, version.fingerprint)
    asked: list[int] = []

    def since(log: object, position: int) -> tuple[pa.Table, int]:
        asked.append(position)
        return items_since(instance.log, position)

    items_since = new_items.items_since
    monkeypatch.setattr(new_items, "items_since", since)
    items = NewItems(instance.log)
    for _ in range(3):
        items.bring(encoder)
    newest = items_position(instance.log)
    assert asked == [0] and encoder.items_position == newest > 1000  # the generated catalogue, and the new one
    payload = json.dumps({"service": "music", "item_id": "newer", "text": "bread garlic oven"})
    Inbox(instance.database, Forgotten(instance.settings.home)).accept(
        [ArrivingRecord(SegmentKind.ITEMS, ITEMS_BUCKET, payload)]
    )
    items.bring(encoder)
    assert asked == [0, newest] and encoder.items_position == newest + 1
