"""`export.json`: what an export is, and the size and SHA-256 of each of its files. It is written
last: where it is, the export is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tuning.errors import ExportError, StorageError
from tuning.results import read_json

CARD = "README.md"  # the only file that is the user's to change
MANIFEST, MANIFEST_VERSION = "export.json", 2  # 2: with the files' sizes and digests
REMEDY = "Type `make export-best` to write the export again."
_KEYS = {"class_names": list, "input": dict, "forms": dict, "left_out": dict, "files": dict}
_BLOCK = 2**20


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished export.

    Raises:
        ExportError: missing, unfinished, of another schema version, or not what this program wrote.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ExportError(
            f"{folder} must hold a finished export; it has no {MANIFEST}. Type `make export-best`"
            " first."
        )
    try:
        manifest = read_json(path, version=MANIFEST_VERSION)
    except StorageError as error:
        raise ExportError(f"{error} {REMEDY}") from error
    wrong = [name for name, kind in _KEYS.items() if not isinstance(manifest.get(name), kind)]
    if not wrong and not (
        len(manifest["class_names"]) > 1
        and all(isinstance(name, str) for name in manifest["class_names"])
    ):
        wrong = ["class_names"]
    if not wrong and any(
        Path(name).is_absolute() or ".." in Path(name).parts for name in manifest["files"]
    ):
        wrong = ["files"]
    if wrong:
        raise ExportError(
            f"{path} must hold {', '.join(_KEYS)} as this program writes them; {', '.join(wrong)}"
            f" is not so. {REMEDY}"
        )
    return manifest


def digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of an export but its manifest, by the path below
    the folder.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST
    )
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in paths
    }


def verify(folder: Path, manifest: dict[str, Any], names: Collection[str] | None = None) -> None:
    """Check that files, or all below the folders, of these names are those that were written; all
    files without names.

    Raises:
        ExportError: one is missing or was changed.
    """
    for one in names or ():
        if not any(name == one or name.startswith(f"{one}/") for name in manifest["files"]):
            raise ExportError(
                f"{folder / MANIFEST} must hold the SHA-256 of {one}; it does not. {REMEDY}"
            )
    for name, written in manifest["files"].items():
        if names is not None and not any(
            name == one or name.startswith(f"{one}/") for one in names
        ):
            continue
        path = folder / name
        if not path.is_file():
            raise ExportError(f"{folder} must hold {name}; it is missing. {REMEDY}")
        try:
            found = _sha256(path)
        except OSError as error:
            raise ExportError(f"{path} must be readable; reading it gave: {error}.") from error
        if not isinstance(written, dict) or found != written.get("sha256"):
            raise ExportError(
                f"{path} must be the file that was exported; its SHA-256 is another, so it was"
                f" changed or damaged. {REMEDY}"
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
