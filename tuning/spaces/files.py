"""The files of search spaces: `search_spaces/<name>.py`, or a path that a user names, as in
`file.py` or `file.py:Name` for one of several hypermodels in a file.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tuning.errors import SpaceError


def spaces_dirs() -> list[Path]:
    """Return the folders that contain search spaces: in the working directory, then beside this
    package, then inside this package, where a wheel has it.
    """
    package = Path(__file__).resolve().parents[1]
    here = Path("search_spaces").absolute()
    return [here, package.parent / "search_spaces", package / "search_spaces"]


def list_spaces() -> dict[str, Path]:
    """Return the file of each space by its name; the first folder wins."""
    files: dict[str, Path] = {}
    for folder in spaces_dirs():
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                files.setdefault(path.stem, path)
    return files


def split_place(place: Path | str) -> tuple[Path, str | None]:
    """Return the file of a space, and the name after `file.py:`, or None without such a name."""
    match = re.fullmatch(r"(.+\.py):(\w+)", str(place), re.DOTALL)
    return (Path(match[1]), match[2]) if match else (Path(place), None)


def short_name(place: Path | str) -> str:
    """Return the name of a space without its folder: `file`, or `file-Name` for `file.py:Name`."""
    path, name = split_place(place)
    return path.stem if name is None else f"{path.stem}-{name}"


def find_space(name: str, *, flag: str = "--space") -> Path:
    """Return the file of a space that is given by its name or its path; `flag` names the flag in
    errors. A name after `file.py:` stays at the end of the path.

    Raises:
        SpaceError: the space does not exist; the message lists the known names.
    """
    place = Path(name).expanduser()
    path, _ = split_place(place)
    if path.suffix == ".py":
        if path.is_file():
            return place.absolute()
        raise SpaceError(f"{flag} must name a file that exists; {name!r} does not exist.")
    known = list_spaces()
    if name not in known:
        raise SpaceError(
            f"{flag} must be one of {', '.join(sorted(known))}, or a path ending in .py; received"
            f" {name!r}."
        )
    return known[name].absolute()


def source_sha256(path: Path) -> str:
    """Return the SHA-256 of a space's file, without executing the file."""
    return hashlib.sha256(split_place(path)[0].read_bytes()).hexdigest()
