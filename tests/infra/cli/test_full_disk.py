"""A disk that is really full: one line, nothing that anybody reads, and the same command once there is space."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.infra.commands import Commands

Resize = Callable[[int], None]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Commands, Resize]]:
    """`portrait` with its home on a disk of its own, and a way to give it another size in MB."""
    home, printed = tmp_path / "disk", tmp_path / "printed"
    for folder in (home, printed):
        folder.mkdir()

    def mount(*arguments: object) -> bool:
        return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0

    if not mount("-t", "tmpfs", "-o", "size=100m", "none", home):
        pytest.skip("only root may mount a small disk")

    def resize(megabytes: int) -> None:
        assert mount("-o", f"remount,size={megabytes}m", home)

    yield Commands(printed, home), resize
    subprocess.run(["umount", "-l", home], check=True)


def used(home: Path) -> int:
    """Megabytes, rounded up."""
    return 1 + sum(path.stat().st_blocks * 512 for path in home.rglob("*") if path.is_file()) // 2**20


def test_one_line_and_the_same_again(small: tuple[Commands, Resize], tmp_path: Path) -> None:
    portrait, resize = small
    rng, rows = np.random.default_rng(0), 150_000
    events = pa.table(
        {
            "user_id": [f"user-{n}" for n in rng.integers(0, 20_000, rows)],
            "item_id": [f"item-{n:x}" for n in rng.integers(0, 2**60, rows)],
            "event_time": pa.array(
                rng.integers(1_600_000_000_000_000, 1_700_000_000_000_000, rows), pa.timestamp("us")
            ),
        }
    )
    pq.write_table(events, tmp_path / "events.parquet")
    assert portrait("apply").code == 0
    for command in (["ingest", "--events", tmp_path / "events.parquet"], ["snapshot", "--json"]):
        resize(used(portrait.home) + 2)
        full = portrait(*command)
        assert full.code == 1, full
        lines = [line for line in full.err.splitlines() if line.startswith("portrait: ")]
        assert len(lines) == 1 and lines[0].startswith("portrait: the disk is full"), full.err
        assert "Traceback" not in full.err
        resize(100)
        again = portrait(*command)
        assert again.code == 0, again.err
        assert list((portrait.home / "staging").iterdir()) == []
        assert not [path for path in portrait.home.rglob("*") if path.name.endswith(".writing")]
    assert again.json["events"] == rows and again.json["users"] == len(set(events["user_id"].to_pylist()))
