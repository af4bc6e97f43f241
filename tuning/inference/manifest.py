"""`export.json`: what an export is, and the size and SHA-256 of each of its files. It is written
last: where it is, the export is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuning.documents import read
from tuning.errors import ExportError, StorageError

CARD = "README.md"  # the only file that is the user's to change
MANIFEST, MANIFEST_VERSION = "export.json", 2  # 2: with the files' sizes and digests
REMEDY = "Type `make export-best` to write the export again."
_BLOCK = 2**20


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """How texts become a model's input: the rows of its vocabulary, the number of tokens, and the
    end of a longer text that is dropped ("pre" or "post").
    """

    vocab_size: int
    sequence_length: int
    truncating: str


@dataclass(frozen=True, kw_only=True)
class ExportedForm:
    """A form of an exported model: its name in `FORMS`, what it takes, the modules that it needs,
    and its size.
    """

    form: str
    takes: str
    needs: list[str]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """Size and SHA-256 of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What predicting and serving read of `export.json`.

    `forms`: the exported forms by their paths; `left_out`: why a path was not exported; `files`:
    the files below the export's folder. The fields with a default are for people.
    """

    class_names: list[str]
    input: ModelInput
    forms: Mapping[str, ExportedForm]
    left_out: dict[str, str]
    files: dict[str, FileDigest]
    study: str = ""
    created: str = ""
    export_number: int | None = None
    text_column: str | None = None

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise ValueError(f"class_names: must be two or more, not {self.class_names}")
        for name in self.files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"files: must be paths below the export's folder, not {name!r}")


def read_manifest(folder: Path) -> Manifest:
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
        return read(path, Manifest, error=ExportError, remedy=REMEDY, version=MANIFEST_VERSION)
    except StorageError as error:
        raise ExportError(f"{error} {REMEDY}") from error


def digests(folder: Path) -> dict[str, FileDigest]:
    """Size and SHA-256 of every file of an export but its manifest, by the path below
    the folder.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST
    )
    return {
        path.relative_to(folder).as_posix(): FileDigest(
            bytes=path.stat().st_size, sha256=_sha256(path)
        )
        for path in paths
    }


def verify(folder: Path, manifest: Manifest, names: Collection[str] | None = None) -> None:
    """Check that files, or all below the folders, of these names are those that were written; all
    files without names.

    Raises:
        ExportError: one is missing or was changed.
    """
    for one in names or ():
        if not any(name == one or name.startswith(f"{one}/") for name in manifest.files):
            raise ExportError(
                f"{folder / MANIFEST} must hold the SHA-256 of {one}; it does not. {REMEDY}"
            )
    for name, written in manifest.files.items():
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
        if found != written.sha256:
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
