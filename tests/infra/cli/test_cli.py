"""The command line: help, clean JSON, exit codes, and one line where something is wrong."""

import json
import re
import resource
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from sqlalchemy import make_url
from typer.testing import CliRunner

from portrait.infra.cli.main import app
from tests.infra.commands import PROGRAM, Commands
from tests.instances import TINY, USERS, copy_of

HEAVY = {"torch", "ray", "feast", "sqlalchemy", "pandas", "numpy", "pyarrow", "duckdb"}


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command and group."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


def test_every_help_answers_and_loads_nothing_heavy() -> None:
    script = f"""
import json, sys
from typer.testing import CliRunner
from portrait.infra.cli.main import app
results = [CliRunner().invoke(app, [*path, "--help"]) for path in {COMMANDS!r}]
loaded = sorted({HEAVY!r} & sys.modules.keys())
print(json.dumps([[result.exit_code, result.output.split()[:2]] for result in results] + [loaded]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    *answers, loaded = json.loads(done.stdout)
    assert answers == [[0, ["Usage:", "portrait"]] for _ in COMMANDS]
    assert loaded == []
    assert len(COMMANDS) >= 20


def test_help_has_each_command_in_one_panel_in_the_order_of_a_users_needs() -> None:
    panels: dict[str, list[str]] = {}
    for line in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.splitlines():
        if heading := re.match(r"╭─ (\w+) ─", line):
            panels[heading[1]] = []
        elif row := re.match(r"│ (\S+) ", line):
            panels[list(panels)[-1]].append(row[1])
    assert panels.pop("Options") == ["--version", "--help"]
    assert list(panels) == ["Data", "Train", "Measure", "Promote", "Serve", "Administer"]
    shown = [name for names in panels.values() for name in names]
    assert sorted(shown) == sorted({path[0] for path in COMMANDS if path})
    assert shown[0] == "demo"
    needed = ["ingest", "apply", "train", "backfill", "evaluate", "consumer", "promote", "rollback", "serve", "forget"]
    assert [name for name in shown if name in needed] == needed


def test_version_is_printed_and_loads_nothing_heavy() -> None:
    script = f"""
import sys
from portrait.infra.cli.main import app
try:
    app(["--version"])
finally:
    print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    version = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["version"]
    assert (done.returncode, done.stdout, done.stderr) == (0, f"portrait {version}\n", "[]\n")


def test_help_takes_less_than_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([PROGRAM, "backfill", "--help"], capture_output=True, text=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "Usage: portrait backfill" in done.stdout and "--stale" in done.stdout
    # Of the processor: the clock on the wall also counts what else runs on this machine.
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < 1.0


@pytest.fixture(scope="module")
def lived_in(backfilled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """A home with one version, which the consumer `ranker` reads; `idle` reads nothing yet. Only read from it."""
    folder = tmp_path_factory.mktemp("commands")
    with copy_of(backfilled_home, folder / "home") as portrait:
        portrait.operations.promote("ann", "ranker", "autoencoder-1", "first version")
        portrait.registry.consumers.add("idle", "nobody", "")
        portrait.repo.apply()
    return Commands(folder, folder / "home")


def test_reading_commands_print_one_json_document(lived_in: Commands) -> None:
    [version] = lived_in("versions", "--json").json
    assert version["id"] == "autoencoder-1" and version["state"] == "ready" and len(version["fingerprint"]) == 64

    consumers = {one["name"]: one for one in lived_in("consumers", "--json").json}
    assert consumers.keys() == {"ranker", "idle"}
    assert consumers["ranker"]["assignment"]["stable"] == "autoencoder-1"
    assert consumers["idle"]["assignment"] is None

    [promotion] = lived_in("history", "ranker", "--json").json
    assert (promotion["to_version"], promotion["actor"], promotion["reason"]) == (
        "autoencoder-1",
        "ann",
        "first version",
    )
    assert promotion["promoted_at"].endswith("Z")
    assert lived_in("history", "ranker", "--at", "2020-01-01", "--json").json == []

    status = lived_in("status", "--json").json
    assert status["log"]["users"] == USERS and status["home"] == str(lived_in.home)
    [live] = status["versions"]
    assert (live["users_online"], live["users_known"], live["consumers"]) == (USERS, USERS, ["ranker"])
    assert live["online_bytes"] == USERS * 16 * 4 and live["offline_bytes"] > live["online_bytes"]

    snapshot = lived_in("snapshot", "--as-of", "2024-06-01", "--json").json
    assert snapshot["users"] == USERS and snapshot["as_of"] == "2024-06-01T00:00:00Z"
    assert lived_in("apply", "--json").json == {"changes": [], "published_users": 0}


def test_get_answers_as_the_gateway_would(lived_in: Commands) -> None:
    done = lived_in("get", "ranker", "u000001", "nobody", "--json")
    stored, unknown = done.json["embeddings"]
    assert (stored["user_id"], stored["source"], stored["version"]) == ("u000001", "stored", "autoencoder-1")
    assert (unknown["user_id"], unknown["source"]) == ("nobody", "prior")
    assert len(stored["vector"]) == len(unknown["vector"]) == 16
    strict = lived_in("get", "ranker", "nobody", "--strict")
    assert (strict.code, strict.out) == (1, "") and "nobody" in strict.error


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["versions"], ["Embedding versions", "autoencoder-1", "ready"]),
        (["consumers"], ["ranker", "rank the home page", "autoencoder-1", "nothing yet"]),
        (["history", "ranker"], ["History of ranker", "promote", "first version", "ann"]),
        (["status"], [f"{USERS} of {USERS}", "19 kB", "ranker"]),
        (["get", "ranker", "u000001"], ["autoencoder-1", "u000001", "stored", "16 numbers"]),
    ],
)
def test_people_get_tables(lived_in: Commands, command: list[str], words: list[str]) -> None:
    done = lived_in(*command)
    assert (done.code, done.err) == (0, "")
    assert [word for word in words if word not in done.out] == []


def test_json_is_clean_after_ray_has_printed(backfilled_home: Path, portrait: Commands) -> None:
    copy_of(backfilled_home, portrait.home).__exit__()
    done = portrait("backfill", "autoencoder-1", "--as-of", "2025-01-02", "--json", PORTRAIT_RAY_FROM_USERS="1")
    assert done.code == 0, done.err
    assert "Ray" in done.err  # it had something to say
    assert (done.json["embedded"], done.json["written_online"], done.json["users"]) == (USERS, USERS, USERS)


def test_env_is_what_a_shell_can_evaluate(portrait: Commands) -> None:
    portrait.home = portrait.home.with_name("a home; with 'signs'")
    lines = portrait("env").out.splitlines()
    assert all(line.startswith("export ") for line in lines)
    variables = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in lines)
    assert variables["PORTRAIT_HOME"] == str(portrait.home)
    assert make_url(variables["PORTRAIT_FEAST_REGISTRY_URL"]).database == f"{portrait.home}/feast.db"


def test_the_everyday_jobs(portrait: Commands, tmp_path: Path) -> None:
    """Ingest, train, backfill, promote, get, export, roll back: each by its command."""
    from portrait.infra.generator import generate

    files = generate(tmp_path / "generated", users=100)
    ingested = portrait("ingest", "--events", files.events, "--items", files.items, "--users", files.users, "--json")
    assert ingested.json["events"]["accepted"] == ingested.json["events"]["read"] > 0
    again = portrait("ingest", "--events", files.events, "--users", files.users, "--json").json
    assert again["events"]["duplicates"] == again["events"]["read"] and again["events"]["accepted"] == 0
    assert again["users"]["unchanged"] == again["users"]["read"]

    small = [word for override in TINY for word in ("--set", override)]
    trained = portrait("train", "autoencoder", *small, PORTRAIT_NUM_WORKERS="0")
    assert trained.code == 0 and "autoencoder-1 is registered: 16 dimensions" in trained.out, trained.err
    second = portrait("train", "autoencoder", *small, "--set", "seed=1", "--json", PORTRAIT_NUM_WORKERS="0").json
    assert (second["id"], second["parent"], second["config"]["seed"]) == ("autoencoder-2", "autoencoder-1", 1)
    for version in ("autoencoder-1", "autoencoder-2"):
        assert "100 of 100 users embedded" in portrait("backfill", version).out

    assert portrait("consumer", "add", "ranker", "--task", "rank").code == 0
    assert portrait("consumer", "set", "ranker", "--owner", "web").code == 0
    assert portrait("promote", "ranker", "autoencoder-1", "--reason", "first").out.startswith("ranker: nothing -> ")
    first = portrait("get", "ranker", "u000001", "--json").json["embeddings"][0]
    assert portrait("promote", "ranker", "autoencoder-2", "--json").json["revision"] == 2
    assert portrait("get", "ranker", "u000001", "--json").json["embeddings"][0]["version"] == "autoencoder-2"
    assert portrait("rollback", "ranker", "--reason", "clicks fell", "--json").json["to_version"] == "autoencoder-1"
    assert portrait("get", "ranker", "u000001", "--json").json["embeddings"][0]["vector"] == first["vector"]
    [consumer] = portrait("consumers", "--json").json
    assert (consumer["owner"], consumer["task"]) == ("web", "rank")

    exported = portrait("export", "autoencoder-1", "--out", tmp_path / "vectors.parquet")
    assert exported.code == 0 and "100 users" in exported.out
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table.num_rows == 100 and table.schema.field("vector").type == pa.list_(pa.float32(), 16)
    row = table.column("user_id").to_pylist().index("u000001")
    assert np.float32(table.column("vector")[row].as_py()).tobytes() == np.float32(first["vector"]).tobytes()


BAD_FILES = {
    "no-time.csv": (b"user_id,item_id\nann,a\n", "`event_time`"),
    "empty.csv": (b"", "is empty"),
    "header.csv": (b"user_id,item_id,event_time\n", "has no rows"),
    "noise.parquet": (b"PAR1 and nothing more", "damaged Parquet"),
    "picture.png": (b"\x89PNG\r\n\x1a\n\0\0\0", "neither Parquet nor CSV"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_unusable_file_leaves_nothing_behind(name: str, portrait: Commands, tmp_path: Path) -> None:
    content, complaint = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    done = portrait("ingest", "--events", tmp_path / name)
    assert (done.code, done.out) == (2, "")
    assert name in done.error and complaint in done.error
    assert not portrait.home.exists()


def test_an_unusable_file_beside_a_good_one_changes_nothing(lived_in: Commands, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,event_time\nann,a,2024-01-01\n")
    (tmp_path / "users.csv").write_text("name\nann\n")
    before = contents(lived_in.home)
    done = lived_in("ingest", "--events", tmp_path / "events.csv", "--users", tmp_path / "users.csv")
    assert done.code == 2 and "users.csv has no column `user_id`" in done.error
    assert contents(lived_in.home) == before


def contents(home: Path) -> dict[Path, int]:
    """Files and sizes, without what a database keeps beside itself while it is open."""
    files = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
    return {path: path.stat().st_size for path in files}


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["ingest"], 2, ["nothing to ingest", "--events"]),
        (["ingest", "--events", "/no/such.csv"], 2, ["/no/such.csv"]),
        (["import", "online-retail", "/no/such.parquet"], 2, ["/no/such.parquet"]),
        (["snapshot", "--as-of", "yesterday"], 2, ["--as-of", "'yesterday'"]),
        (["history", "ranker", "--at", "noon"], 2, ["--at", "'noon'"]),
        (["train", "autoencoder", "--set", "epochs=many"], 2, ["epochs", "many"]),
        (["train", "autoencoder", "--set", "epoch=3"], 2, ["epoch", "epochs"]),
        (["train", "autoencoder", "--set", "epochs"], 2, ["epochs"]),
        (["train", "autoencoder", "--exclude", "shoe_size"], 2, ["shoe_size", "country"]),
        (["backfill", "autoencoder-9"], 1, ["autoencoder-9", "autoencoder-1"]),
        (["export", "autoencoder-9", "--out", "/tmp/x.parquet"], 1, ["autoencoder-9", "autoencoder-1"]),
        (["export", "autoencoder-1", "--out", "/no/such/x.parquet"], 2, ["/no/such"]),
        (["promote", "ranker", "autoencoder-9"], 1, ["autoencoder-9", "autoencoder-1"]),
        (["promote", "ranker", "autoencoder-1"], 1, ["already reads autoencoder-1"]),
        (["promote", "searcher", "autoencoder-1"], 1, ["searcher", "idle, ranker"]),
        (["rollback", "ranker"], 1, ["ranker", "nothing to go back to"]),
        (["history", "searcher"], 1, ["searcher", "idle, ranker"]),
        (["get", "searcher", "u000001"], 1, ["searcher", "idle, ranker"]),
        (["get", "idle", "u000001"], 1, ["idle", "portrait promote idle"]),
        (["consumer", "add", "Not A Name"], 2, ["Not A Name"]),
        (["consumer", "add", "ranker", "--owner", "others"], 1, ["ranker"]),
        (["consumer", "set", "searcher", "--owner", "others"], 1, ["searcher"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_one_line_says_what_is_wrong(lived_in: Commands, command: list[str], code: int, words: list[str]) -> None:
    before = lived_in("versions", "--json").json, lived_in("consumers", "--json").json
    done = lived_in(*command)
    assert (done.code, done.out) == (code, "")
    assert done.error.startswith("portrait: ")
    assert [word for word in words if word not in done.error] == []
    assert (lived_in("versions", "--json").json, lived_in("consumers", "--json").json) == before


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({"PORTRAIT_POLL_SECONDS": "soon"}, 2, ["PORTRAIT_POLL_SECONDS=soon"]),
        ({"PORTRAIT_HOME": "/no/home"}, 1, ["/no/home", "portrait apply"]),
        ({"PORTRAIT_REGISTRY_URL": "postgresql://127.0.0.1:1/none"}, 1, ["127.0.0.1"]),
        ({"PORTRAIT_REGISTRY_URL": "somewhere"}, 2, ["PORTRAIT_REGISTRY_URL=somewhere", "postgresql://"]),
        ({"PORTRAIT_ONLINE_STORE_URL": "somewhere"}, 2, ["PORTRAIT_ONLINE_STORE_URL=somewhere"]),
        ({"PORTRAIT_HOME": "~nobody-of-this-name/home"}, 2, ["PORTRAIT_HOME=~nobody-of-this-name/home", "whole path"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_one_line_says_which_setting_is_wrong(
    lived_in: Commands, variables: dict[str, str], code: int, words: list[str]
) -> None:
    done = lived_in("versions", **variables)
    assert (done.code, done.out) == (code, "")
    assert [word for word in words if word not in done.error] == []


def test_a_shell_sees_the_exit_code_and_the_line(portrait: Commands) -> None:
    done = portrait.process("ingest", "--events", "/no/such.csv")
    assert (done.code, done.out) == (2, "")
    assert done.error == "portrait: there is no events file /no/such.csv"


def test_the_demo_never_touches_a_folder_that_it_did_not_make(portrait: Commands, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    done = portrait("demo", "--home", theirs, "--users", 100)
    assert (done.code, done.out) == (2, "")
    assert str(theirs) in done.error and "--home" in done.error
    assert [(path.name, path.read_text()) for path in theirs.iterdir()] == [("thesis.txt", "years of work")]


@pytest.mark.slow
def test_every_row_of_online_retail_is_accounted_for(portrait: Commands, test_data: Path) -> None:
    path = test_data / "online_retail" / "transactions.parquet"
    first = portrait("import", "online-retail", path, "--json").json["report"]
    events = first["events"]
    assert events["accepted"] + events["duplicates"] + sum(events["rejected"].values()) == events["read"] == 1_044_847
    assert first["users"]["accepted"] == 5_942

    second = portrait("import", "online-retail", path, "--json").json["report"]
    assert second["events"]["accepted"] == 0
    assert second["events"]["duplicates"] == events["accepted"] + events["duplicates"]
    assert second["events"]["rejected"] == events["rejected"]
    assert (second["users"]["unchanged"], second["users"]["accepted"]) == (5_942, 0)
    assert portrait("status", "--json").json["log"]["events"] == events["accepted"]
