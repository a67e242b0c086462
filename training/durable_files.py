"""Small files that are there with all of their text or not at all, wherever a process is killed."""

from pathlib import Path

from portrait.feature_repo.log.segments import sync


def write_whole(path: Path, text: str) -> None:
    """Put the text into the file in one step; who reads meanwhile finds what was there before."""
    scratch = path.with_suffix(".writing")
    scratch.write_text(text)
    sync(scratch)
    scratch.replace(path)
