"""The suite's page: a table for each of the paper's, a picture, and the numbers as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from portrait.training.evaluation.gains import draw_gains
from portrait.training.evaluation.suites.gur.claims import Table
from portrait.training.evaluation.suites.gur.suite import Result, Tables

HEAD = "| question | data | metric | representation | beside | its value | gain | the paper's | sign | size |"


def write_report(tables: Tables, version: str, folder: Path) -> Path:
    """Write report.md, gains.png and numbers.json into the folder; returns the page's path."""
    (folder / "numbers.json").write_text(json.dumps(plain_numbers(tables), indent=1) + "\n")
    draw_gains([one.gain for one in tables.results], folder / "gains.png")
    page = folder / "report.md"
    page.write_text(as_markdown(tables, version))
    return page


def plain_numbers(tables: Tables) -> dict[str, Any]:
    return {"results": [_numbers(one) for one in tables.results], "left_out": tables.left_out}


def _numbers(one: Result) -> dict[str, Any]:
    measured = {"ours": one.ours.shown(), "other": one.other.shown()}
    return {"claim": asdict(one.claim), "task": one.task, **measured, **one.gain.numbers(), "sign": one.sign}


def as_markdown(tables: Tables, version: str) -> str:
    parts = [f"# GUR's tables, by the recipe of {version}\n", "![gains](gains.png)\n"]
    for table in Table:
        rows = [_row(one) for one in tables.results if one.claim.table == table]
        if rows:
            parts.append("\n".join([f"## {table.capitalize()}\n", HEAD, "|" + "---|" * 10, *rows]) + "\n")
    if tables.left_out:
        told = [f"- `{name}`: {why}" for name, why in tables.left_out.items()]
        parts.append("\n".join(["## Not measured here\n", *told]) + "\n")
    return "\n".join(parts)


def _row(one: Result) -> str:
    claim, ours, other = one.claim, one.ours, one.other
    return (
        f"| {claim.asked} | `{one.task}` | {claim.metric} | {ours.value:.3f} ({ours.low:.3f} .. {ours.high:.3f}) "
        f"| {claim.than} | {other.value:.3f} ({other.low:.3f} .. {other.high:.3f}) "
        f"| {one.gain} | {claim.gain:+.1%} | {one.sign} | {one.gain.size} |"
    )
