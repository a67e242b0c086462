"""Sealed folders, of encoders and of heads: a document in JSON that has the SHA-256 of every file beside it."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from portrait.feature_repo.log.durable_files import file_digest
from portrait.registry.errors import FingerprintMismatch, InvalidInput, NotFound

SHOWN = 12  # digits of a digest that a message shows


def file_digests(folder: Path) -> dict[str, str]:
    """The digest of each file by its name, for the document that is written last."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def read_document(path: Path, what: str, format: int, needed: Collection[str]) -> dict[str, Any]:
    """The document of a folder of a kind ("artifact", "head"), in this format and with the needed keys.

    Raises NotFound when there is none, InvalidInput when it cannot be read or is of another format.
    """
    if not path.is_file():
        raise NotFound(f"there is no {what} at {path.parent}: train one, or restore the folder from a backup")
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        if document["format"] != format:
            raise InvalidInput(f"the {what} at {path.parent} has format {document['format']}, this code reads {format}")
        if missing := sorted(set(needed) - document.keys()):
            raise KeyError(*missing)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the document {path} is damaged ({error!r}): restore the folder from a backup") from error
    return document


def verify_file(folder: Path, document: dict[str, Any], name: str) -> None:
    """Raise FingerprintMismatch, with both digests, unless the file is there as the document has it."""
    path, expected = folder / name, str(document["files"].get(name))
    if not path.is_file():
        raise FingerprintMismatch(
            f"{path} is missing, it had SHA-256 {expected[:SHOWN]}: an artifact is immutable, restore it from a backup"
        )
    found = file_digest(path)
    if found != expected:
        raise FingerprintMismatch(
            f"{path} was changed after training: it has SHA-256 {found[:SHOWN]}, expected was {expected[:SHOWN]}: "
            "an artifact is immutable, restore it from a backup"
        )
