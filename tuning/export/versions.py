"""The folders of a study's exports: `best/` is the newest export, and `best.N/` are up to `N_KEPT`
earlier exports.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tuning.atomic_io import translated
from tuning.errors import ExportError, StorageError
from tuning.inference.manifest import CARD, MANIFEST, read_manifest, verify
from tuning.results import StudyDir

# Maximum number of earlier exports that are kept. An export takes about ten MB.
N_KEPT = 2


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Create an empty folder, which replaces an existing folder, and yield its path. After an error
    the folder is removed, unless it contains a finished export, which `recover` may need.
    """
    with translated(path):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    try:
        yield path
    except BaseException:
        if not is_finished(path):
            shutil.rmtree(path, ignore_errors=True)
        raise


def next_number(best: Path) -> int:
    current = 0
    # The manifest may be missing, changed, or of an earlier version.
    with contextlib.suppress(ExportError):
        current = read_manifest(best).export_number or 0
    # The export in `best/` will move to the number before the next one, which must be free.
    stands = int(best.exists())
    return 1 + max(current, stands, *(number + stands for number in earlier(best)))


def earlier(best: Path) -> dict[int, Path]:
    # The newest is first: `recover` takes the first finished export, and `publish` removes the last
    # ones.
    folders = {
        int(path.suffix[1:]): path
        for path in best.parent.glob(f"{best.name}.*")
        if path.suffix[1:].isdecimal()
    }
    return dict(sorted(folders.items(), reverse=True))


def publish(temporary: Path, best: Path, *, number: int) -> None:
    """Move a finished export with this number to `best/`, and keep `N_KEPT` earlier exports.

    If the process is killed between the two renames, `best/` does not exist. Both folders are
    complete, and the next command calls `recover`, which makes the second rename.
    """
    old = best.with_name(f"{best.name}.{number - 1}")
    with translated(best):
        # Without a folder to move, this raises before the earlier export has moved.
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
    """Complete a `publish` that was killed: if `best/` does not exist, rename the newest finished
    export to `best/`.
    """
    if best.exists():
        return
    for path in (best.with_name(f"{best.name}.tmp"), *earlier(best).values()):
        if is_finished(path):
            with translated(best):
                path.replace(best)
            return


def is_finished(folder: Path) -> bool:
    """Return whether a folder contains a finished export whose files, except the model card, are
    unchanged.
    """
    if not (folder / MANIFEST).is_file():
        return False
    try:
        manifest = read_manifest(folder)
        verify(folder, manifest, manifest.files.keys() - {CARD})
    except ExportError:
        return False
    return True


def newest(folder: StudyDir) -> Path:
    """Return the folder of a study's newest finished export, which may be missing."""
    if not folder.best_dir.exists() and folder.path.is_dir():
        # If the lock is held, an export is being written now. If the folder is read-only, nothing
        # can be renamed. In both cases the folder stays as it is.
        with (
            contextlib.suppress(Timeout, OSError, StorageError),
            FileLock(folder.export_lock_path).acquire(timeout=0),
        ):
            recover(folder.best_dir)
    return folder.best_dir
