"""The copy of the assignments on disk: it comes back as it was kept, and no other file is used."""

import json
import logging
import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portrait.registry.records.gate_settings import GateSettings
from portrait.registry.records.grants import Grant
from portrait.registry.records.records import ApiKey
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.state.state_file import StateFile
from tests.serving.twin_source import TwinSource, consumer, version

URL = "postgresql+psycopg://portrait:***@db/portrait"


def state(generation: int = 7) -> ServingState:
    source = TwinSource(number=generation)
    source.versions["autoencoder-2"] = version(
        "autoencoder-2",
        failure="none",
        feature_schema={"profile": [{"name": "country", "kinds": ["a", 1, None, 0.1 + 0.2]}]},
        metrics={"loss": 0.1 + 0.2, "at the limit": float("inf")},
    )
    source.consumers["ranker"] = replace(
        consumer("ranker"), gates=GateSettings(min_coverage=0.5), wants_head=True, max_age_seconds=0.1
    )
    key = ApiKey("1f2e", "ranker", "d" * 64, (Grant.parse("embeddings:read=ranker"),), datetime.now(UTC), "ann")
    source.keys = {key.id: key, "9": replace(key, id="9", revoked_at=datetime.now(UTC))}
    source.try_out("ranker", "autoencoder-2", 1 / 3)
    return source.read()


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "home" / "serving" / "assignments.json", URL)


def test_every_bit_comes_back(file: StateFile) -> None:
    assert file.load() is None
    file.save(state())
    kept = file.load()
    assert kept is not None and kept.state == replace(state(), keys=kept.state.keys)
    assert kept.state.keys["1f2e"].grants == (Grant.parse("embeddings:read=ranker"),)
    assert kept.state.keys["9"].revoked_at is not None and kept.state.keys["9"].revoked_at.tzinfo is not None
    assert kept.state.assignments["ranker"].canary_share == 1 / 3
    assert 0 <= kept.age_seconds < 60


def test_digests_of_keys_are_for_the_owner_only(file: StateFile) -> None:
    file.save(state())
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert "d" * 64 in file.path.read_text() and "***" in file.path.read_text()


def test_a_state_counts_as_old_as_its_last_confirmation(file: StateFile) -> None:
    file.save(state())
    os.utime(file.path, (1, datetime.now().timestamp() - 500))
    assert (kept := file.load()) and 499 < kept.age_seconds < 560
    file.confirm()
    assert (kept := file.load()) and kept.age_seconds < 60


DAMAGED = {
    "empty": lambda text: "",
    "cut off": lambda text: text[: len(text) // 2],
    "no JSON": lambda text: "\x00" + text,
    "a list": lambda text: "[]",
    "of another release": lambda text: text.replace('"generation"', '"number"'),
    "of a wrong type": lambda text: text.replace('"canary_share":0.3', '"canary_share":"x'),
    "with an impossible gate": lambda text: text.replace('"min_coverage":0.5', '"min_coverage":7'),
    "with an unknown scope": lambda text: text.replace('"embeddings:read"', '"everything"'),
    "without a version that is read": lambda text: text.replace('"versions":{"autoencoder-1"', '"versions":{"x-1"'),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_ignored_with_a_warning(
    file: StateFile, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.save(state())
    text = DAMAGED[damage](file.path.read_text())
    assert text != file.path.read_text()
    file.path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert file.load() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "damaged" in caplog.text
    file.save(state(8))
    assert (kept := file.load()) and kept.state.generation == 9


def test_the_file_of_another_registry_is_never_used(file: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    StateFile(file.path, URL.replace("@db", "@other")).save(state())
    with caplog.at_level(logging.WARNING):
        assert file.load() is None
    assert "@other" in caplog.text and "@db" in caplog.text


def test_a_save_that_fails_leaves_what_was_kept_and_nothing_beside_it(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(state(1))

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.save(state(5))
    assert (kept := file.load()) and kept.state.generation == 2
    assert [path.name for path in file.path.parent.iterdir()] == ["assignments.json"]


def test_a_reader_sees_one_whole_state_while_replicas_write(file: StateFile) -> None:
    file.save(state(0))
    writers = [threading.Thread(target=lambda: [file.save(state(number)) for number in range(30)]) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert json.loads(file.path.read_text())["registry"] == URL
    for writer in writers:
        writer.join()
    assert (kept := file.load()) and kept.state.generation == 30
    assert [path.name for path in file.path.parent.iterdir()] == ["assignments.json"]
