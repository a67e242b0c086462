"""Replicas of one machine answer /metrics together."""

import os
import subprocess
import sys
from pathlib import Path

from serving.flags import serve_environment
from serving.settings import ServingSettings

REPLICA = """
from serving.metrics import Metrics
metrics = Metrics(shared=True)
metrics.request("embedding", 200, 0.003)
print(metrics.render(7, 0.5).decode())
"""


def test_replicas_share_their_counts(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "made" / "here")}
    for replicas in (1, 2):
        run = subprocess.run(
            [sys.executable, "-c", REPLICA], env=environment, capture_output=True, text=True, check=True
        )
        assert f'portrait_request_seconds_count{{endpoint="embedding",status="200"}} {replicas}.0' in run.stdout
        assert "portrait_generation 7.0" in run.stdout


def test_one_replica_needs_no_shared_folder(tmp_path: Path) -> None:
    one, two = (serve_environment(ServingSettings(home=tmp_path, replicas=replicas)) for replicas in (1, 2))
    assert "PROMETHEUS_MULTIPROC_DIR" not in one and two["PROMETHEUS_MULTIPROC_DIR"]
