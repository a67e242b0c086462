"""Merged users: afterwards the instance is one in which all had been recorded for the user who stays."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from portrait.feature_repo.correction import user_merge
from portrait.feature_repo.forgetting.segments import Segments
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.forgotten import count_unfinished
from portrait.feature_repo.log.inbox import InboxOutcome
from portrait.infra.jobs.versions import take_in
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.registry.errors import Conflict, InvalidInput
from tests.feature_repo.correction.parity import NOW, Row, file_of, record_of, require_the_same
from tests.feature_repo.forgetting.traces import traces
from tests.forks import FORKS
from tests.instances import copy_of

ANON = "anonymous-visitor"
MINE: list[Row] = [
    (ANON, "music-0001", "2024-03-01", None),
    (ANON, "music-0002", "2024-03-02", None),
    (ANON, "music-0002", "2024-03-02", None),  # twice within a moment
    (ANON, "shop-0001", "2024-03-03", "named"),
    (ANON, "music-0004", "2024-03-04", None),  # known of ann too
]
THEIRS: list[Row] = [
    ("ann", "music-0004", "2024-03-04", None),
    ("ann", "music-0003", "2024-03-02", "of-ann"),
    ("bob", "music-0003", "2024-03-02", None),
]
PROFILES = "user_id,created_time,country,age\n"
OF_ANON, OF_ANN, MERGED = "{},2024-02-28,PT,41\n", "{},,ES,\n", "{},2024-02-28,ES,41\n"


def instance(template: Path, home: Path, rows: list[Row], *users: str) -> Portrait:
    portrait = copy_of(template, home)
    for number, part in enumerate({row[0]: None for row in rows}):
        path = home.parent / f"{home.name}-{number}.parquet"
        take_in(portrait, file_of(path, [row for row in rows if row[0] == part]), None, None)
    for number, user in enumerate(users):
        (home.parent / f"{home.name}-{number}.csv").write_text(PROFILES + user)
        take_in(portrait, None, None, home.parent / f"{home.name}-{number}.csv")
    return portrait


def as_of_ann(rows: list[Row]) -> list[Row]:
    return [("ann", *row[1:]) for row in rows]


def recorded_for_ann(template: Path, home: Path, *users: str) -> Portrait:
    """What the merge should lead to: the same files, with ann in the place of the other."""
    portrait = instance(template, home, THEIRS, *users)
    take_in(portrait, file_of(home.parent / f"{home.name}-mine.parquet", as_of_ann(MINE)), None, None)
    return portrait


CASES = {
    "none has a profile": ((None, None), (None, None)),
    "the one who ends has": ((OF_ANON, None), (OF_ANON, None)),
    "the one who stays has": ((None, OF_ANN), (None, OF_ANN)),
    "both have": ((OF_ANON, OF_ANN), (OF_ANN, MERGED)),
}
"""Profiles in the order in which they come: of the one who ends and the one who stays; and those it should lead to."""


def pair(number: int) -> tuple[str, str]:
    return f"{ANON}-{number}", f"ann-{number}"


def as_user(rows: list[Row], user: str) -> list[Row]:
    return [(user, *row[1:3], row[3] and f"{row[3]}-{user[-1]}") for row in rows]


def pairs_instance(template: Path, home: Path, merged: bool) -> Portrait:
    """An instance with a pair of users for each case, or the one that merging all of them should lead to."""
    portrait = copy_of(template, home)
    theirs = [row for number in range(len(CASES)) for row in as_user(THEIRS[:2], pair(number)[1])]
    mine = [row for number in range(len(CASES)) for row in as_user(MINE, pair(number)[merged])]
    for name, rows in (("theirs", [*theirs, THEIRS[2]]), ("mine", mine)):
        take_in(portrait, file_of(home.parent / f"{home.name}-{name}.parquet", rows), None, None)
    for place in (0, 1):
        lines = []
        for number, (given, expected) in enumerate(CASES.values()):
            profile = (expected if merged else given)[place]
            lines += [profile.format(pair(number)[merged or place])] if profile else []
        path = home.parent / f"{home.name}-{place}.csv"
        path.write_text(PROFILES + "".join(lines))
        take_in(portrait, None, None, path)
    return portrait


def test_all_is_as_if_it_had_been_recorded_for_the_user_who_stays(registered_home: Path, tmp_path: Path) -> None:
    with (
        pairs_instance(registered_home, tmp_path / "one", merged=False) as portrait,
        pairs_instance(registered_home, tmp_path / "other", merged=True) as right,
    ):
        stay = [pair(number)[1] for number in range(len(CASES))]
        reports = [portrait.operations.merge("ops", *pair(number)) for number in range(len(CASES))]
        assert [report.found["events"] for report in reports] == [5] * 4
        assert [report.found["profiles"] for report in reports] == [0, 1, 0, 1]
        require_the_same(portrait, right, *stay, "bob")
        assert [traces(portrait, pair(number)[0]) for number in range(len(CASES))] == [[]] * 4
        again = portrait.operations.merge("ops", *pair(3))
        assert again.found == reports[3].found and count_unfinished(portrait.database) == 0
        require_the_same(portrait, right, *stay, "bob")
        done = [one for one in portrait.registry.audit.newest(20) if one.action == "user.merge"]
        assert {one.subject for one in done} == {report.subject for report in reports}
        assert all(one.detail["into"].startswith("user ") for one in done)


def test_what_waits_in_the_inbox_moves_and_what_comes_later_is_refused(registered_home: Path, tmp_path: Path) -> None:
    named = [(*row[:3], f"id-{number}") for number, row in enumerate(MINE)]
    with (
        instance(registered_home, tmp_path / "one", THEIRS) as portrait,
        instance(registered_home, tmp_path / "other", [*THEIRS, *as_of_ann(named)]) as right,
    ):
        portrait.log.inbox.accept([record_of(row) for row in named])
        portrait.operations.merge("ops", ANON, "ann")
        late = (ANON, "music-0009", "2024-03-09", "late")
        assert portrait.log.inbox.accept([record_of(late)]) == [InboxOutcome.FORGOTTEN]
        rejected = ingest(portrait.log, file_of(tmp_path / "late.parquet", [late]), now=NOW).events
        assert rejected.rejected == {"the user was forgotten": 1}
        take_in(right, file_of(tmp_path / "none.parquet", [THEIRS[2]]), None, None)
        assert portrait.log.manifest().watermark == right.log.manifest().watermark
        require_the_same(portrait, right, "ann", "bob")


def test_who_cannot_be_merged_is_told(registered_home: Path, tmp_path: Path) -> None:
    with instance(registered_home, tmp_path / "home", [*MINE, *THEIRS]) as portrait:
        with pytest.raises(InvalidInput, match="'ann' cannot be merged into itself"):
            portrait.operations.merge("ops", "ann", "ann")
        with pytest.raises(InvalidInput, match="blank"):
            portrait.operations.merge("ops", " ", "ann")
        portrait.operations.forget("ops", "bob")
        with pytest.raises(Conflict, match="who would stay, was forgotten: lift that first"):
            portrait.operations.merge("ops", ANON, "bob")
        with pytest.raises(Conflict, match="was forgotten: there is nothing left to merge"):
            portrait.operations.merge("ops", "bob", "ann")
        portrait.operations.merge("ops", ANON, "ann")
        with pytest.raises(Conflict, match="was merged into another user: there is nothing left to merge"):
            portrait.operations.merge("ops", ANON, "eve")


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_the_move() -> None:
    user_merge.carry_out = die  # type: ignore[assignment]


def die_after_the_move() -> None:
    Segments.delete = die  # type: ignore[method-assign]


def merge_and_die(settings: Settings, prepare: Callable[[], None]) -> None:
    prepare()
    with Portrait.open(settings) as portrait:
        portrait.operations.merge("ops", ANON, "ann")


@pytest.mark.parametrize("prepare", [die_before_the_move, die_after_the_move])
def test_a_killed_merge_is_finished_by_the_same_call(
    registered_home: Path, tmp_path: Path, prepare: Callable[[], None]
) -> None:
    with (
        instance(registered_home, tmp_path / "one", [*MINE, *THEIRS]) as portrait,
        recorded_for_ann(registered_home, tmp_path / "other") as right,
    ):
        process = FORKS.Process(target=merge_and_die, args=(portrait.settings, prepare))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert count_unfinished(portrait.database) == 1
        portrait.operations.merge("ops", ANON, "ann")
        require_the_same(portrait, right, "ann", "bob")
        assert traces(portrait, ANON) == []
