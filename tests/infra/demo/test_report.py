"""The report of the demo: the right neighbours, the right rows, and a picture that can be opened."""

import io
from datetime import UTC, datetime
from pathlib import Path

import matplotlib.image
import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from rich.table import Table

from portrait.infra.demo.report import draw_map, favourites, neighbour_table
from portrait.registry.errors import InvalidInput

DAY = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
USERS = ["ann", "bob", "cid", "dee"]
VECTORS = np.array([[1, 0.1], [0, 1], [1, 0], [-1, 0]], np.float32)
LIKED = {"ann": ["jazz"], "bob": ["rock"], "cid": ["swing", "jazz"]}


def shown(table: Table) -> str:
    """The table as text."""
    out = io.StringIO()
    Console(file=out, width=160).print(table)
    return out.getvalue()


def cells(table: Table) -> list[list[str]]:
    """The table's rows."""
    return [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_neighbours_are_the_nearest_by_cosine_with_what_they_like() -> None:
    table = neighbour_table(USERS, VECTORS, LIKED, shown=["ann", "bob"], neighbours=2)
    assert cells(table) == [
        ["ann", "jazz", "cid", "1.00", "swing · jazz"],
        ["", "", "bob", "0.10", "rock"],
        ["bob", "rock", "ann", "0.10", "jazz"],
        ["", "", "cid", "0.00", "swing · jazz"],
    ]


def test_users_who_like_nothing_are_neither_shown_nor_neighbours() -> None:
    table = neighbour_table(USERS, VECTORS, LIKED, shown=10, neighbours=10)
    assert "dee" not in shown(table)
    assert [row[0] for row in cells(table) if row[0]] == ["ann", "bob", "cid"]
    assert all(row[0] != row[2] for row in cells(table))
    with pytest.raises(InvalidInput, match="cannot show dee"):
        neighbour_table(USERS, VECTORS, LIKED, shown=["dee"])


def test_neighbours_of_nobody_are_an_empty_table() -> None:
    assert cells(neighbour_table(USERS, VECTORS, {})) == []
    assert cells(neighbour_table(USERS, VECTORS, {"ann": ["jazz"]})) == []


def test_favourites_are_the_heaviest_items_by_their_text() -> None:
    histories = pa.table(
        {
            "user_id": ["ann", "bob", "new"],
            "services": [["music"] * 4, ["shop", "shop"], []],
            "item_ids": [["m1", "m2", "m2", "m3"], ["s1", "s2"], []],
            "actions": [["play"] * 4, ["return", "purchase"], []],
            "weights": pa.array([[1.5, 1.0, 1.0, 1.0], [9.0, 1.0], []], pa.list_(pa.float32())),
        }
    )
    catalogue = pa.table({"service": ["music", "music"], "item_id": ["m1", "m2"], "text": ["One", "Two"]})
    assert favourites(histories, catalogue, top=3) == {"ann": ["Two", "One", "m3"], "bob": ["s2"]}
    assert favourites(histories, catalogue, top=1) == {"ann": ["Two"], "bob": ["s2"]}


@pytest.mark.parametrize(("users", "quick"), [(150, False), (150, True), (2, False)])
def test_the_map_is_a_picture_with_colours(tmp_path: Path, users: int, quick: bool) -> None:
    rng = np.random.default_rng(0)
    labels = [None if row == 0 else f"group {row % 12}" for row in range(users)]
    path = draw_map(rng.normal(size=(users, 6)).astype(np.float32), labels, tmp_path / "maps" / "map.png", quick=quick)
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > 600 and picture.shape[1] > 900
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 20


def test_a_map_wants_a_label_for_every_vector(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot draw 4 vectors with 1 labels"):
        draw_map(VECTORS, ["a"], tmp_path / "map.png")
