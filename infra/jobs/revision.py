"""Which code this is: kept with every version that it trains."""

import subprocess
from importlib.metadata import version

from portrait.registry.settings import PROJECT_ROOT


def code_revision() -> str:
    """The commit of the checkout, marked when it has changes; the installed version where there is no checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return version("portrait")
    return commit + ("-changed" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PROJECT_ROOT), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
