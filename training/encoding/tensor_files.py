"""Tensor files: safetensors, as readable as any other file. Loading one runs no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import save_file


def save_tensors(tensors: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write arrays by name into one file.

    safetensors alone lets nobody but the writer read it, whatever the umask: a gateway of another user could not load
    the weights of a folder whose other files it reads.
    """
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path)
    path.chmod(mode)
