"""Metrics: the replicas of one machine answer /metrics together."""

import os
import re
import subprocess
import sys
from pathlib import Path

from portrait.serving.gateway.serve_environment import serve_environment
from portrait.serving.http.metrics import GatewayMetrics
from portrait.serving.reads.embedding_batch import Answer
from portrait.serving.settings import ServingSettings
from portrait.serving.state.assignment_poller import Assignments
from tests.serving.twin_source import TwinSource
from tests.serving.twins import Twins

REPLICA = """
from portrait.serving.state.assignment_poller import Assignments
from portrait.serving.reads.embedding_batch import Answer
from portrait.serving.http.metrics import GatewayMetrics
from tests.serving.twin_source import TwinSource
assignments, metrics = Assignments(TwinSource(number=7)), GatewayMetrics(shared=True)
assignments.refresh()
metrics.request("embedding", 200, 0.003)
print(metrics.render(assignments, store_sound=True).decode())
"""


def test_replicas_share_their_counts(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "made" / "here")}
    for replicas in (1, 2):
        run = subprocess.run(
            [sys.executable, "-c", REPLICA], env=environment, capture_output=True, text=True, check=True
        )
        assert f'portrait_request_seconds_count{{endpoint="embedding",status="200"}} {replicas}.0' in run.stdout
        assert "portrait_generation 7.0" in run.stdout and "portrait_registry_up 1.0" in run.stdout


def test_one_replica_needs_no_shared_folder(tmp_path: Path) -> None:
    one, two = (serve_environment(ServingSettings(home=tmp_path, replicas=replicas)) for replicas in (1, 2))
    assert "PROMETHEUS_MULTIPROC_DIR" not in one and two["PROMETHEUS_MULTIPROC_DIR"]


def shown(assignments: Assignments) -> dict[str, float]:
    lines = (
        line.rpartition(" ")
        for line in GatewayMetrics().render(assignments, store_sound=True).decode().splitlines()
        if line[0] != "#"
    )
    return {name: float(value) for name, _, value in lines}


def test_a_registry_that_is_away_shows_from_the_first_second_on() -> None:
    source = TwinSource(away=True)
    assignments = Assignments(source)
    assert assignments.begin() is None
    before = shown(assignments)
    assert (before["portrait_registry_up"], before["portrait_generation"]) == (0, -1)
    assert 0 <= before["portrait_assignments_stale_seconds"] < 60
    source.away = False
    assignments.refresh()
    after = shown(assignments)
    assert (after["portrait_registry_up"], after["portrait_generation"]) == (1, 1)


def test_vectors_are_counted_by_the_version_that_they_are_of(parts: Twins) -> None:
    parts.promote("ranker", "autoencoder-2", canary_share=0.5)
    metrics, users = GatewayMetrics(), [f"user-{number}" for number in range(40)]
    answer = parts.reader.read("ranker", users)
    # What one answer adds: with Feast in the process, its counters live in files that all tests share.
    before, after = (counted(metrics, parts.reader.assignments, answer) for _ in range(2))
    for part in answer.parts:
        labels = f'{{consumer="ranker",source="stored",version="{part.version}"}}'
        assert 0 < len(part) < 40 and after[labels] - before[labels] == len(part)


def counted(metrics: GatewayMetrics, assignments: Assignments, answer: Answer) -> dict[str, float]:
    """The counters of vectors, by their labels, after the answer."""
    metrics.answered("ranker", answer)
    lines = re.findall(
        r"^portrait_embeddings_total(\S+) (\S+)", metrics.render(assignments, store_sound=True).decode(), re.M
    )
    return {labels: float(count) for labels, count in lines}
