"""The files of search spaces: `search_spaces/<name>.py`, or a path that a user names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tuning.errors import SpaceError


def spaces_dirs() -> list[Path]:
    """The folders that contain search spaces: the one here, then the one beside this package, then
    the one that a wheel has inside it.
    """
    package = Path(__file__).resolve().parents[1]
    here = Path("search_spaces").absolute()
    return [here, package.parent / "search_spaces", package / "search_spaces"]


def list_spaces() -> dict[str, Path]:
    """The file of each space by its name; the first folder wins."""
    files: dict[str, Path] = {}
    for folder in spaces_dirs():
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                files.setdefault(path.stem, path)
    return files


def find_space(name: str, *, flag: str = "--space") -> Path:
    """The file of a space that is given by its name or its path; `flag` names the flag in errors.

    Raises:
        SpaceError: it does not exist; the message lists the known names.
    """
    path = Path(name).expanduser()
    if path.suffix == ".py":
        if path.is_file():
            return path.absolute()
        raise SpaceError(f"{flag} must name a file that exists; there is no {name!r}.")
    known = list_spaces()
    if name not in known:
        raise SpaceError(
            f"{flag} must be one of {', '.join(sorted(known))}, or a path ending in .py; received"
            f" {name!r}."
        )
    return known[name].absolute()


def source_sha256(path: Path) -> str:
    """SHA-256 of a space's file; the file is not executed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
