"""Exports of a study, one after another: `best/` is the newest, `best.N/` the earlier ones, of
which the last few are kept.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from tuning.errors import ExportError, StorageError
from tuning.inference.manifest import CARD, MANIFEST, read_manifest, verify
from tuning.results import StudyDir, translated

N_KEPT = 2  # earlier exports: some ten MB each


def next_number(best: Path) -> int:
    """The number of the next export of a study, from 1."""
    current = 0
    with contextlib.suppress(ExportError):  # missing, of an earlier version, or changed
        current = read_manifest(best).export_number or 0
    stands = int(best.exists())  # it will move to the number before the next, which must be free
    return 1 + max(current, stands, *(number + stands for number in earlier(best)), 0)


def earlier(best: Path) -> dict[int, Path]:
    """The earlier exports of a study by their numbers, the newest first."""
    found = {
        int(path.suffix[1:]): path
        for path in best.parent.glob(f"{best.name}.*")
        if path.suffix[1:].isdecimal()
    }
    return dict(sorted(found.items(), reverse=True))


def publish(temporary: Path, best: Path, *, number: int) -> None:
    """Put a finished export of this number in its place; the one that stood there is kept beside
    it, the oldest go.

    Two renames: a process that is killed between them leaves both folders whole, for `recover`.

    Raises:
        StorageError: the folder is read-only; the export that stood there still does.
    """
    old = best.with_name(f"{best.name}.{number - 1}")
    with translated(best):
        temporary.stat()
        moved = best.exists()
        if moved:
            best.replace(old)
        try:
            temporary.replace(best)
        except OSError:
            if moved:
                old.replace(best)
            raise
    for path in list(earlier(best).values())[N_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def recover(best: Path) -> None:
    """Finish what a killed `publish` began: where there is no `best/`, the finished export that
    should stand there takes its place.
    """
    if best.exists():
        return
    for path in (best.with_name(f"{best.name}.tmp"), *earlier(best).values()):
        if is_whole(path):
            with translated(best):
                path.replace(best)
            return


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a finished export, every file but the card as it was written."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        manifest = read_manifest(folder)
        verify(folder, manifest, manifest.files.keys() - {CARD})
    except ExportError:
        return False
    return True


def newest(folder: StudyDir) -> Path:
    """The folder of a study's newest finished export; whether there is one is for `read_manifest`
    to say.
    """
    if not folder.best_dir.exists() and folder.path.is_dir():
        # else one is being written now, or the folder takes nothing, and what it holds is all there
        # is
        with (
            contextlib.suppress(Timeout, OSError, StorageError),
            FileLock(folder.export_lock_path).acquire(timeout=0),
        ):
            recover(folder.best_dir)
    return folder.best_dir
