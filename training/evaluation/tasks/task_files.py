"""Task files in TOML: those that come with Portrait by name, any other by path."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from portrait.registry.errors import InvalidInput, NotFound
from portrait.training.evaluation.tasks.kinds import KINDS, Task

BUILTIN = Path(__file__).with_name("builtin")
GIVEN = ("name",)  # not a key of the file


def builtin_names() -> list[str]:
    """Names of the tasks that come with Portrait."""
    return sorted(path.stem for path in BUILTIN.glob("*.toml"))


def load_task(name_or_file: str) -> Task:
    """The task of a name or of a TOML file.

    Raises NotFound, naming those there are, for a name that is none and no file; InvalidInput as `read_task` does.
    """
    path = Path(name_or_file)
    if name_or_file in builtin_names():
        return read_task(BUILTIN / f"{name_or_file}.toml")
    if path.suffix != ".toml" and not path.exists():
        known = ", ".join(builtin_names())
        raise NotFound(f"there is no task {name_or_file!r}: give a TOML file, or one of {known}")
    return read_task(path)


def read_task(path: Path) -> Task:
    """The task of a file; raises InvalidInput with file, key, value and what is allowed."""
    document = _document(path)
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidInput(f"{path}: kind = {kind!r} must be one of {', '.join(KINDS)}")
    of = KINDS[kind]
    allowed = [field.name for field in fields(of) if field.name not in GIVEN]
    for key in document:
        if key not in allowed:
            raise InvalidInput(f"{path}: {key} = {document[key]!r} is no key of kind {kind}: {', '.join(allowed)}")
    document = _beside(path, document)
    try:
        task: Task = of(**document, name=path.stem)
    except ValidationError as error:
        raise InvalidInput(f"{path}: {_describe_error(error)}") from None
    return task


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"there is no task file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path} is no TOML file: {error}") from error


def _beside(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """A labels file that is named by a path lies where the task's file does, wherever the command runs."""
    labels = document.get("labels")
    if isinstance(labels, str) and labels.endswith((".parquet", ".csv")):
        return {**document, "labels": str((path.parent / labels).absolute())}
    return document


def _describe_error(error: ValidationError) -> str:
    """The first error as text: key, value, and what is allowed."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    said = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} is missing"
    value = first["input"]
    return said if not key else f"{key} = {value!r}: {said[0].lower()}{said[1:]}"
