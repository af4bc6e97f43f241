"""Folders that are built once beside the data: locked, written whole, and built again if a file has
changed.
"""

import contextlib
import logging
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from tuning.atomic_io import read_json, translated, write_json
from tuning.errors import StorageError

logger = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
CHECKSUM_BYTES = 2**22  # size of the blocks in which a file is read
# Endings of the files that KerasHub reads in the folder of a preset.
PRESET_FILES = (".json", ".txt", ".weights.h5", ".safetensors")
# Beginnings of names of other files. `metadata.json` has the time at which the preset was saved.
NO_PRESET_FILES = ("README", "LICENSE", "metadata.json")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time build a folder. Errors of the disk become a `StorageError`."""
    with translated(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            yield


@contextlib.contextmanager
def rebuilt(
    folder: Path, *, goes_on: Callable[[Path], bool] = lambda temporary: False
) -> Iterator[Path]:
    """Remove a folder, and yield a temporary folder that replaces it at the end of the context. If
    `goes_on` is true of the temporary folder of a process that was ended, its files are kept.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    if not goes_on(temporary):
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.mkdir(exist_ok=True)
    yield temporary
    temporary.replace(folder)


def passes(check: Callable[[], bool], folder: Path) -> bool:
    try:
        passed = check()
    except StorageError:
        passed = False
    if not passed:
        logger.warning("the files in %s have changed; the folder is built again", folder)
    return passed


def checksum_of(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(CHECKSUM_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


def checksum_of_keras_file(path: Path) -> int:
    """Return a checksum that is the same when Keras saves an unchanged model again: `metadata.json`
    has the time, and so has each entry of the ZIP file.
    """
    try:
        with zipfile.ZipFile(path) as file:
            parts = sorted((part.filename, part.CRC) for part in file.infolist())
    except zipfile.BadZipFile:  # Keras refuses the file when it is loaded.
        return checksum_of(path)
    return zlib.crc32(repr([part for part in parts if part[0] != "metadata.json"]).encode())


def checksum_of_encoder(path: Path) -> int:
    """Return the checksum of a Keras model, or of the preset in a folder."""
    if path.is_file():
        return checksum_of_keras_file(path)
    parts = [
        (file.relative_to(path).as_posix(), checksum_of(file))
        # KerasHub reads no other folders, such as `onnx/` of a Hugging Face model.
        for file in sorted([*path.glob("*"), *path.glob("assets/**/*")])
        if file.name.endswith(PRESET_FILES) and not file.name.startswith(NO_PRESET_FILES)
    ]
    return zlib.crc32(repr(parts).encode())


def checksums_of(folder: Path, *, pattern: str = "**/*") -> dict[str, int]:
    # Not of the cards and `rows.npz`: `build_corpus` writes some of them after the checksums.
    paths = sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix in (".npy", ".bin", ".txt") or path.name == "tokenizer.json"
    )
    return {path.relative_to(folder).as_posix(): checksum_of(path) for path in paths}


def is_whole(folder: Path) -> bool:
    """Return whether the files of a folder that `build_once` built are as they were written."""
    return bool(read_json(folder / CHECKSUMS) == checksums_of(folder))


def build_once(
    folder: Path,
    write: Callable[[Path], None],
    *,
    is_current: Callable[[Path], bool] = lambda folder: True,
    goes_on: Callable[[Path], bool] = lambda temporary: False,
) -> None:
    """Have `write` write the files of a folder, unless it exists, is current, and its checksums are
    those of its files. `goes_on`: as in `rebuilt`.
    """

    def is_up_to_date() -> bool:
        return is_current(folder) and is_whole(folder)

    with locked(folder):
        if folder.exists() and passes(is_up_to_date, folder):
            return
        with rebuilt(folder, goes_on=goes_on) as temporary:
            write(temporary)
            write_json(temporary / CHECKSUMS, checksums_of(temporary))
