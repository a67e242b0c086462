"""Forked processes of tests that need not wait for imports: their server has imported what tests need.

A process has one such server, with one list of modules to import, so the list is here for everybody.
"""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "portrait.infra.cli.main",
        "portrait.infra.jobs.versions",
        "portrait.serving.operations.operations",
        "portrait.serving.gateway.build",
        "portrait.training.backfill.backfill",
        "portrait.training.inspection.inspection",
        "portrait.training.inspection.diff",
        "tests.feature_repo.processes",
        "tests.registry.killed_process",
    ]
)
