"""Tables of the commands: the right fields of the right rows."""

from dataclasses import fields
from datetime import UTC, datetime

from rich.table import Table

from portrait.infra.tables.consumers import consumers_table, gates_table
from portrait.infra.tables.versions import diff_table, versions_table
from portrait.registry.database.tables import VersionState
from portrait.registry.records.records import Assignment, Consumer, EmbeddingVersion
from portrait.registry.records.verdicts import GateOutcome, Verdict
from portrait.training.inspection.diff import MeasuredPair, VersionDiff, VersionSide

DAY = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)


def cells(table: Table) -> list[list[str]]:
    """The table's rows."""
    return [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]


def version(**changes: object) -> EmbeddingVersion:
    """A version with plain values."""
    plain = {field.name: "" for field in fields(EmbeddingVersion)}
    known = {
        "id": "autoencoder-3",
        "state": VersionState.READY,
        "fingerprint": "0123456789abcdef",
        "dimension": 120,
        "data_from": None,
        "data_to": DAY,
        "last_as_of": DAY,
    }
    return EmbeddingVersion(**{**plain, **known, **changes})  # type: ignore[arg-type]


def test_versions_show_their_state_window_and_reach() -> None:
    table = versions_table([version(), version(id="autoencoder-4", state=VersionState.REGISTERED, last_as_of=None)])
    assert cells(table) == [
        ["autoencoder-3", "ready", "0123456789ab", "120", "- .. 2024-05-06", "2024-05-06", version().code_revision],
        ["autoencoder-4", "registered", "0123456789ab", "120", "- .. 2024-05-06", "-", version().code_revision],
    ]


def test_consumers_show_what_they_read() -> None:
    consumers = [Consumer(name, "search", "ranking", DAY) for name in ("ranker", "mailer", "idle")]
    assignments = {
        "ranker": Assignment("ranker", "autoencoder-3", None, None, 1, DAY),
        "mailer": Assignment("mailer", "autoencoder-3", "autoencoder-4", 0.05, 2, DAY),
    }
    assert [row[0:1] + row[3:] for row in cells(consumers_table(consumers, assignments))] == [
        ["ranker", "autoencoder-3", "1", "2024-05-06 07:08:00"],
        ["mailer", "autoencoder-3\ncanary autoencoder-4 for 0.05", "2", "2024-05-06 07:08:00"],
        ["idle", "nothing yet", "", ""],
    ]


def test_gates_say_what_cannot_be_forced() -> None:
    verdicts = [
        Verdict("version-is-ready", GateOutcome.ACCEPT, "version autoencoder-3 is ready"),
        Verdict("artifact-loads", GateOutcome.REJECT, "it does not load", "restore it", forceable=False),
        Verdict("watermark-lag", GateOutcome.WAIT, "it trails the log", "run `portrait backfill autoencoder-3`"),
    ]
    table = gates_table("gates", verdicts)
    assert [str(cell) for cell in table.columns[1].cells] == ["accept", "reject", "wait"]
    assert list(table.columns[2].cells) == [
        "version autoencoder-3 is ready",
        "it does not load (cannot be forced)",
        "it trails the log",
    ]


def test_a_diff_of_other_dimensions_leaves_out_what_cannot_be_compared() -> None:
    sides = [VersionSide(f"autoencoder-{n}", "f" * 64, 8 * n, 1.0, {"loss": 0.5 * n}, 2.0 * n) for n in (1, 2)]
    measured = (MeasuredPair("churn", "auc", "w46", 0.74, None),)
    diff = VersionDiff(*sides, measured, 300, 200, 180, 10, 0.25, None, 0.9, 1.0)
    rows = {row[0]: row[1:] for row in cells(diff_table(diff))}
    assert rows["training: loss"] == ["0.5", "1", ""]
    assert rows["auc on churn (w46)"] == ["0.74", "-", ""]
    assert rows["neighbour overlap@10"] == ["", "", "0.25"]
    assert rows["mean cosine, raw"] == ["", "", "-"]
    assert rows["users compared"] == ["", "", "180 of 300"]
