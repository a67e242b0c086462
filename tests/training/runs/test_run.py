"""A training run in this process: artifact, fingerprint, exclusion, resume, log."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portrait.registry.errors import InvalidInput, NotFound
from portrait.training.encoding.encoder import load_encoder
from portrait.training.runs.run import TrainedModel, _watch_epochs, train
from portrait.training.runs.session import LocalSession, MetricLog
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF_US, DESCENDING, FAMILIES, QUICK, SCHEMA, TEAM, inputs, population, train_here


def asked_of(model: TrainedModel) -> TrainingInputs:
    """What the shared model was trained on."""
    return replace(inputs(population()), data_from=model.data_from)


def test_what_a_run_tells(either: TrainedModel) -> None:
    model = either
    assert model.run.startswith(f"{model.family}-") and model.path.name == model.run
    assert model.artifact == f"artifacts/{model.run}" and not list((model.path.parent / ".unfinished").iterdir())
    assert model.dimension == 8 and model.snapshot == "20240601-example"
    sees_fields = model.family != "clue"  # CLUE does not look at the profile
    assert model.input_schema == (SCHEMA if sees_fields else SCHEMA.exclude(SCHEMA.names))
    epochs = 3 if model.family in DESCENDING else 0
    assert model.config.get("epochs", 0) == epochs and model.config["exclude"] == []
    assert 0 < model.metrics["held_out_loss"] < 2 and model.metrics["epochs"] == max(epochs, 1)
    record = json.loads((model.path / "run.json").read_text())
    assert record["run"] == model.run and record["metrics"] == model.metrics


def test_the_metric_log(descended: TrainedModel) -> None:
    lines = [json.loads(line) for line in (descended.path / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    assert epochs[-1]["loss"] < epochs[0]["loss"]  # it learns
    # The rate is of the passes alone, the seconds are the whole epoch's: it takes each of the 108 at least once.
    assert all(line["users_per_second"] * line["seconds"] >= 108 for line in epochs)


def test_the_same_request_gives_the_same_fingerprint_in_another_run(
    either: TrainedModel, settings: TrainingSettings
) -> None:
    again = train_here(settings, asked_of(either), family=either.family)
    assert again.fingerprint == either.fingerprint and again.run != either.run


def test_buckets_in_other_sizes_change_nothing_but_the_order(settings: TrainingSettings) -> None:
    """Vocabularies and item vectors do not depend on how users come."""
    from portrait.training.runs.survey import survey

    first = survey(inputs(population()), lambda *_, **__: None)
    backwards = population().take(pa.array(range(119, -1, -1)))
    second = survey(inputs(backwards), lambda *_, **__: None)
    assert first[0].items.values == second[0].items.values and (first[1] == second[1]).all()
    assert first[0].to_json() == second[0].to_json()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        {"autoencoder": "epochs=2", "clue": "epochs=2", "forecast": "ridge=0.5"},
        {"autoencoder": "windows_days=7,30", "clue": "chunk=9", "forecast": "windows_days=7,30"},
    ],
)
def test_another_seed_or_config_gives_another_fingerprint(
    either: TrainedModel, settings: TrainingSettings, override: str | dict[str, str]
) -> None:
    own = override if isinstance(override, str) else override[either.family]
    assert train_here(settings, asked_of(either), own, family=either.family).fingerprint != either.fingerprint


def test_a_team_column_adds_a_block(model: TrainedModel, settings: TrainingSettings) -> None:
    other = train_here(settings, inputs(population(), TEAM))
    layouts = [json.loads((m.path / "encoder.json").read_text())["layout"] for m in (model, other)]
    assert layouts[0]["vectors"] == [] and layouts[1]["vectors"] == [["listening__mood", 3]]
    assert other.fingerprint != model.fingerprint and other.input_schema == TEAM
    users = population()
    encoder = load_encoder(other.path)
    column = users.column_names.index("listening__mood")
    moody = users.set_column(column, "listening__mood", pa.array([[9.0, -9.0, 9.0]] * 120, pa.list_(pa.float32())))
    assert (encoder.encode(users, AS_OF_US) != encoder.encode(moody, AS_OF_US)).any(axis=1).all()


def test_excluded_fields_are_gone(settings: TrainingSettings) -> None:
    model = train_here(settings, inputs(population(), exclude=("country",)))
    assert model.input_schema.names == ("age",) and model.config["exclude"] == ["country"]
    assert "SE" not in (model.path / "encoder.json").read_text()
    with pytest.raises(InvalidInput, match=r"cannot exclude \['planet'\]"):
        train_here(settings, inputs(population(), exclude=("planet",)))


def test_what_cannot_be_trained(settings: TrainingSettings) -> None:
    with pytest.raises(NotFound, match="no model family 'word2vec': the families are autoencoder, clue, forecast"):
        train("word2vec", [], inputs(population()), settings)
    with pytest.raises(InvalidInput, match="--set epochs=x"):
        train("autoencoder", ["epochs=x"], inputs(population()), settings)
    with pytest.raises(InvalidInput, match=r"5 users have events or a profile .*, training needs 10"):
        train_here(settings, inputs(population(5)))
    with pytest.raises(InvalidInput, match=r"5 users have two events .*; training needs 10"):
        train_here(settings, inputs(population(5)), family="clue")


def test_events_alone_are_enough(settings: TrainingSettings) -> None:
    """No catalogue, no profile, nobody's picks: the collaborative modality and the context remain."""
    users = population().drop_columns(["country", "age", "listening__mood"])
    names = users.column_names
    users = users.set_column(names.index("created_time"), "created_time", pa.nulls(120, users["created_time"].type))
    given = inputs(users, schema=SCHEMA.exclude(SCHEMA.names))
    empty = given.catalogue.slice(0, 0)
    bare = type(given)(**{**vars(given), "catalogue": empty})
    model = train_here(settings, bare)
    assert np.isfinite(load_encoder(model.path).encode(users, AS_OF_US)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_progress_is_told(settings: TrainingSettings, family: str) -> None:
    told: list[tuple[str, int, int, str]] = []
    train(
        family,
        QUICK[family],
        inputs(population()),
        settings,
        lambda step, done, total, note="": told.append((step, done, total, note)),
    )
    steps = list(dict.fromkeys(step for step, *_ in told))
    own = {
        "autoencoder": ["counting what goes together", "computing blocks"],
        "clue": ["learning tokens", "reading sequences"],
    }
    own["forecast"] = [*own["autoencoder"], "comparing halves of histories", "summing blocks"]
    encoding = ["encoding items", "encoding sequences"] if family == "clue" else ["encoding users"]
    assert steps == ["looking at items", *own[family], "training", *encoding, "writing the artifact"]
    assert all(0 <= done <= total for _, done, total, _ in told)
    last = {step: (done, total) for step, done, total, _ in told}
    assert all(last[step][0] == last[step][1] > 0 for step in encoding)


def test_no_epoch_leaves_the_weights_random(descended: TrainedModel, settings: TrainingSettings) -> None:
    """The baseline that training has to beat; in all else a model like any other."""
    untrained = train_here(settings, inputs(population()), "epochs=0", family=descended.family)
    assert untrained.metrics["held_out_loss"] > descended.metrics["held_out_loss"]
    vectors = load_encoder(untrained.path).encode(population(), AS_OF_US)
    assert np.isfinite(vectors).all() and untrained.fingerprint != descended.fingerprint


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def test_a_killed_run_goes_on_to_the_same_bits(
    descended: TrainedModel, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = LocalSession.report

    def die_after_the_second(self: LocalSession, metrics: dict[str, float], state: dict[str, object]) -> None:
        report(self, metrics, state)
        if metrics["epoch"] == 1:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(LocalSession, "report", die_after_the_second)
        train_here(settings, inputs(population()), family=descended.family)
    unfinished = settings.home / "artifacts" / ".unfinished"
    (run,) = unfinished.iterdir()
    resumed = train_here(settings, inputs(population()), family=descended.family)
    assert resumed.run == run.name and resumed.fingerprint == descended.fingerprint
    assert resumed.metrics["epochs"] == 3 and not list(unfinished.iterdir())


def test_a_run_killed_while_preparing_prepares_again(
    either: TrainedModel, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        step = {
            "autoencoder": "portrait.training.blocks.prepare._layout",
            "clue": "portrait.training.clue.prepare._histories",
            "forecast": "portrait.training.forecast.solution.principal",
        }
        patch.setattr(step[either.family], die)
        train_here(settings, asked_of(either), family=either.family)
    assert train_here(settings, asked_of(either), family=either.family).fingerprint == either.fingerprint
    assert len(list((settings.home / "artifacts").glob(f"{either.family}-*"))) == 1


@pytest.mark.parametrize("changes", [{"exclude": ("age",)}, {"items_position": 7}, {"team_stamp": ("a",)}])
def test_another_request_does_not_resume(
    changes: dict[str, Any], settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(LocalSession, "report", die)
        train_here(settings, inputs(population()))
    (unfinished,) = (settings.home / "artifacts" / ".unfinished").iterdir()
    other = train_here(settings, replace(inputs(population()), **changes))
    assert other.run != unfinished.name and unfinished.exists()


def test_a_visible_artifact_is_whole(settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("portrait.training.runs.run.seal", die)
        train_here(settings, inputs(population()))
    assert [path.name for path in (settings.home / "artifacts").iterdir()] == [".unfinished"]
    resumed = train_here(settings, inputs(population()))
    load_encoder(Path(resumed.path), resumed.fingerprint)


def test_the_best_epoch_is_the_one_of_the_picture(either: TrainedModel) -> None:
    """Both count from one; lines of the log count from zero."""
    lines = [json.loads(line) for line in (either.path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["epoch"] + 1: line["held_out_loss"] for line in lines if line["event"] == "epoch"}
    assert either.metrics["best_epoch"] == min(losses, key=lambda epoch: losses[epoch])
    assert either.metrics["held_out_loss"] == losses[int(either.metrics["best_epoch"])]


def test_the_bar_shows_the_last_epoch_however_fast_it_was(tmp_path: Path) -> None:
    log, told = MetricLog(tmp_path / "metrics.jsonl"), []
    with _watch_epochs(log, 3, lambda _step, done, total, note="": told.append((done, total))):
        for epoch in range(3):
            log.write("epoch", epoch=epoch, held_out_loss=1.0)
    assert told[0] == (0, 3) and told[-1] == (3, 3)
