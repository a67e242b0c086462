"""Ingest of canonical files into the log: all of them in one commit, or nothing at all."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb

from portrait.feature_repo.ingest.arrival import Arrival, JudgingContext
from portrait.feature_repo.ingest.event_files import EVENTS_NEEDED, EventsArrival
from portrait.feature_repo.ingest.ingest_report import IngestReport, Rejects, write_rejects
from portrait.feature_repo.ingest.items import ITEMS_NEEDED
from portrait.feature_repo.ingest.keyed_files import ItemsArrival, UsersArrival
from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.ingest.source import Source, open_source
from portrait.feature_repo.ingest.users import USERS_NEEDED
from portrait.feature_repo.log.duck import connect, enough_memory
from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import TombstonesChanged, commit_segments
from portrait.feature_repo.log.segments import new_ingest_id
from portrait.feature_repo.log.staging import sweep, working_folder
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.progress import Progress, silent

ATTEMPTS = 20

_TABLES: dict[str, tuple[type[Arrival], tuple[str, ...]]] = {
    "events": (EventsArrival, EVENTS_NEEDED),
    "items": (ItemsArrival, ITEMS_NEEDED),
    "users": (UsersArrival, USERS_NEEDED),
}


def ingest(
    log: EventLog,
    events: Path | None = None,
    items: Path | None = None,
    users: Path | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Take canonical files (Parquet or CSV, plain or gzip) into the log.

    Bad rows go to a rejects file; rows that the log has already are counted as duplicates. Nothing is
    visible before the one commit at the end, so a killed ingest is simply run again. Times after `now`
    are rejected, or for events clamped, as the settings say. Raises InvalidInput, with nothing written,
    when a file cannot be used.
    """
    progress = progress or silent
    moment = now or datetime.now(UTC)
    sources = open_files(log, events, items, users)
    sweep(log.home, log.manifest)
    ingest_id = new_ingest_id(datetime.now(UTC))
    with (
        enough_memory(log.settings.ingest_memory),
        working_folder(log.home, ingest_id) as working,
        connect(log.settings.ingest_memory, working / "spill", database=working / "stage.duckdb") as duck,
    ):
        arrivals: dict[str, Arrival] = {}
        for done, (what, source) in enumerate(sources.items()):
            progress("read files", done, len(sources))
            arrival = _TABLES[what][0]
            source = source.prepared(duck, working, arrival.reads)
            arrivals[what] = arrival(duck, log.settings, ingest_id, source, moment)
        progress("read files", len(sources), len(sources))
        rejects = _commit(log, arrivals, working, progress)
        return IngestReport(**{what: arrival.report(rejects[what]) for what, arrival in arrivals.items()})


def open_files(
    log: EventLog, events: Path | None = None, items: Path | None = None, users: Path | None = None
) -> dict[str, Source]:
    """Look at all files before any is read: an unusable one leaves no trace. Raises InvalidInput."""
    files = {what: path for what, path in (("events", events), ("items", items), ("users", users)) if path is not None}
    if not files:
        raise InvalidInput("there is nothing to ingest: give --events, --items or --users")
    with connect(log.settings.ingest_memory, log.home) as duck:
        return {what: open_source(duck, path, what, _TABLES[what][1]) for what, path in files.items()}


def _commit(log: EventLog, arrivals: dict[str, Arrival], working: Path, progress: Progress) -> dict[str, Rejects]:
    """Judge against the log as it is, and commit; judge again when the log has moved meanwhile.

    Judge again also when a user was forgotten meanwhile: the written files must hold nothing of that user.
    """
    seal(log)  # the files are judged against single records too
    moved: set[int] | None = None
    for _ in range(ATTEMPTS):
        forgotten, manifest = log.tombstones(), log.manifest()
        try:
            rejects = _judge(log, arrivals, JudgingContext(manifest, moved, forgotten, progress), working)
        except (OSError, InvalidInput, duckdb.IOException):
            if log.holds(manifest) and log.tombstones() == forgotten:
                raise
            moved = None  # a user is being forgotten: files of the log or our own were removed
            continue
        segments = [segment for arrival in arrivals.values() for segment in arrival.segments]
        guarded = {bucket for arrival in arrivals.values() for bucket in arrival.guarded}
        for folder in {(log.home / segment.path).parent for segment in segments}:
            sync(folder)
        try:
            moved = commit_segments(log.database, segments, manifest, guarded, forgotten)
        except TombstonesChanged:
            moved = None
            for written in rejects.values():
                written.discard()
            continue
        if not moved:
            return rejects
    raise Conflict(f"other ingests were faster {ATTEMPTS} times in a row: run it again when they are done")


def _judge(log: EventLog, arrivals: dict[str, Arrival], judging: JudgingContext, working: Path) -> dict[str, Rejects]:
    """Write the segments, then the rejects, before the commit: a kill in between may show rejects, never lose them."""
    try:
        for arrival in arrivals.values():
            arrival.judge(judging)
        return {
            what: write_rejects(arrival.duck, log.home, working, arrival.source, arrival.rejected)
            for what, arrival in arrivals.items()
        }
    except BaseException:
        for arrival in arrivals.values():
            arrival.discard(arrival.segments)
        raise
