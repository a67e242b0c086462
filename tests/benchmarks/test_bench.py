"""The benchmark runs end to end on tiny sizes and writes what it prints; its figures are not looked at here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rounds import Measurement, alternate, cpu_ratio, ratio

ROOT = Path(__file__).resolve().parents[2]


def test_contenders_take_turns_in_both_directions() -> None:
    taken: list[str] = []
    samples = alternate({"a": lambda: taken.append("a"), "b": lambda: taken.append("b")}, rounds=3)
    assert taken == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(each) for name, each in samples.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_taken_within_a_round() -> None:
    # The machine was ten times slower in the second round: the ratio of medians would say 1.
    ours = Measurement("ours", "x/s", (200.0, 20.0, 220.0), cpu_us=(1.0, 1.0, 1.0))
    theirs = Measurement("theirs", "x/s", (100.0, 10.0, 200.0), cpu_us=(2.0, 3.0, 4.0))
    found = ratio("ours / theirs", ours, theirs, aim=1.5)
    assert (found.value, found.low, found.high, found.reached) == (2.0, 1.1, 2.0, True)
    assert not ratio("theirs / ours", theirs, ours, aim=1.5).reached
    assert cpu_ratio("theirs / ours", theirs, ours).value == 3.0


@pytest.mark.slow
def test_it_runs_and_writes_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    options = ["--only", "reads", "--users", "300", "--rounds", "1", "--seconds", "0.2", "--out", str(out)]
    run = subprocess.run([sys.executable, "-m", "benchmarks", *options], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    section = json.loads(out.read_text())["sections"]["reads"]
    rates = {one["what"]: one["median"] for one in section["measurements"]}
    assert rates["feast serve, 1 user"] and all(rate > 0 for rate in rates.values())
    assert all(one["value"] > 0 for one in section["ratios"]) and section["ratios"]
    assert "reads: ratios" in run.stdout


@pytest.mark.slow
def test_a_stream_is_followed_and_its_figures_are_written(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    options = ["--users", "300", "--seconds", "4", "--rate", "20", "--only", "freshness", "--only", "soak"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options, "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    sections = json.loads(out.read_text())["sections"]
    rates = {one["what"]: one for one in sections["freshness"]["measurements"]}
    readable = rates["event to readable, 20/s"]
    assert readable["median"] > 0 and 0 < readable["p50_ms"][0] <= readable["p99_ms"][0]
    grids = {grid["what"]: dict(grid["rows"]) for grid in sections["freshness"]["grids"]}
    assert {"read log", "fold", "encode", "write vectors"} <= grids["shard: microseconds an event"].keys()
    assert {"gateway", "shard", "generator"} <= grids["processor time, % of one core"].keys()
    totals = dict(sections["soak"]["grids"][0]["rows"])
    assert totals["errors"] == [0.0] and totals["events accepted"][0] > 100
    assert all(totals[f"memory of the {name} at the end, MB"][0] > 50 for name in ("gateway", "shard"))
    assert len(sections["soak"]["grids"][1]["rows"]) == 10
