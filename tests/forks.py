"""Forked processes of tests that need not wait for imports: their server has imported what tests need.

A process has one such server, with one list of modules to import, so the list is here for everybody.
"""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "portrait.infra.cli.main",
        "portrait.infra.jobs.status",
        "portrait.infra.jobs.versions",
        "portrait.infra.tables.study",
        "portrait.feature_repo.declaration.offline_store",
        "portrait.feature_repo.online.sqlite",
        "portrait.serving.operations.operations",
        "portrait.serving.gateway.build",
        "portrait.training.autoencoder.family",
        "portrait.training.backfill.backfill",
        "portrait.training.clue.family",
        "portrait.training.inspection.inspection",
        "portrait.training.inspection.diff",
        "portrait.training.scaling.study_run",
        "portrait.training.scaling.pictures",
        "torch._dynamo",  # which torch imports when it makes its first optimizer
        "tests.feature_repo.processes",
        "tests.registry.killed_process",
    ]
)
