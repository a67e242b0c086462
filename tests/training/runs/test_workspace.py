"""Unfinished runs are found by their request and held by one driver."""

from pathlib import Path

from portrait.training.runs.workspace import claim


def test_the_same_request_finds_its_run(tmp_path: Path) -> None:
    with claim(tmp_path, "autoencoder", "a") as first:
        (first.folder / "state").touch()
    with claim(tmp_path, "autoencoder", "a") as again:
        assert again == first
    with claim(tmp_path, "autoencoder", "b") as other:
        assert other.run != first.run


def test_a_living_driver_keeps_its_run(tmp_path: Path) -> None:
    with claim(tmp_path, "autoencoder", "a") as first, claim(tmp_path, "autoencoder", "a") as second:
        assert second.run != first.run


def test_a_folder_without_a_request_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "autoencoder-halfway").mkdir()
    with claim(tmp_path, "autoencoder", "a") as workspace:
        assert workspace.run != "autoencoder-halfway"
