"""`export.json`: the manifest of an export, with the size and SHA-256 of each of its files. The
manifest is written last, so an export that has a manifest is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tuning.commands import typed
from tuning.documents import OMIT_DEFAULT, read
from tuning.errors import ExportError, StorageError
from tuning.inputs.contract import ModelInput
from tuning.metrics import DEFAULT_TARGET
from tuning.results import StudyDir
from tuning.targets.kinds import target_of
from tuning.targets.target import Target

# Name of the only file that users may change.
CARD = "README.md"
# Version 2 added the sizes and digests of the files.
MANIFEST, MANIFEST_VERSION = "export.json", 2
REMEDY = "Write the export again."


@dataclass(frozen=True, kw_only=True)
class ExportedFormat:
    form: str  # Name in `FORMATS`; stored manifests call a format a form.
    takes: str  # RAW_TEXT or TOKEN_IDS
    needs: list[str]  # modules
    bytes: int


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The part of `export.json` that is read for predictions and by the server.

    `forms` are the exported formats by their paths. `files` are the files below the export's
    folder. The fields with a default are information for users.
    """

    class_names: list[str]
    predicts: str = field(default=DEFAULT_TARGET, metadata=OMIT_DEFAULT)
    margin: float | None = field(default=None, metadata=OMIT_DEFAULT)
    thresholds: tuple[float, ...] = field(default=(), metadata=OMIT_DEFAULT)
    input: ModelInput
    forms: Mapping[str, ExportedFormat]
    files: dict[str, FileDigest]
    study: str = ""
    created: str = ""
    text_column: str | None = None

    def __post_init__(self) -> None:
        _ = self.target  # Its names are checked.
        for name in self.files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"files: must be paths below the export's folder, not {name!r}")

    @property
    def target(self) -> Target:
        return target_of(
            self.class_names, self.predicts, margin=self.margin, thresholds=self.thresholds
        )


def read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        best = StudyDir(folder).best_dir
        remedy = f"Type `{typed('export-best')}` first"
        if (best / MANIFEST).is_file():
            remedy = f"Its export is in {best}"
        raise ExportError(
            f"{folder} must contain a finished export; {MANIFEST} is missing. {remedy}."
        )
    try:
        return read(path, Manifest, error=ExportError, remedy=REMEDY, version=MANIFEST_VERSION)
    except StorageError as error:
        raise ExportError(f"{error} {REMEDY}") from error


def digests(folder: Path) -> dict[str, FileDigest]:
    """Return the size and SHA-256 of every file of an export but its manifest, by path."""
    paths = sorted(
        path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST
    )
    return {
        path.relative_to(folder).as_posix(): FileDigest(
            bytes=path.stat().st_size, sha256=_sha256(path)
        )
        for path in paths
    }


def verify(folder: Path, manifest: Manifest, names: Collection[str]) -> None:
    """Check that files of an export are as they were written. `names` are names of files, and of
    folders whose files are checked.
    """
    for name in names:
        if not any(_is_below(path, name) for path in manifest.files):
            raise ExportError(
                f"{folder / MANIFEST} must contain the SHA-256 of {name}; the SHA-256 is missing."
                f" {REMEDY}"
            )
    for name, written in manifest.files.items():
        if not any(_is_below(name, checked) for checked in names):
            continue
        path = folder / name
        if not path.is_file():
            raise ExportError(f"{folder} must contain {name}; the file is missing. {REMEDY}")
        try:
            sha256 = _sha256(path)
        except OSError as error:
            raise ExportError(
                f"{path} must be readable; reading the file gave: {error}."
            ) from error
        if sha256 != written.sha256:
            raise ExportError(
                f"{path} must be the file that was exported; the SHA-256 differs, so the file was"
                " changed, damaged, or replaced by a later export. Load or write the"
                " export again."
            )


def _is_below(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
