"""Find data files, and open them, plain or `.gz`, up to a stated size."""

import codecs
import contextlib
import glob
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from tuning.errors import DataError, MissingFileError

Progress = Callable[[str, float], None]
"""Called with a description of the work and the share of it that is done, 0 to 1."""

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
TEXT_FORMATS = (*FORMATS, ".txt")
PREDICTIONS = "predictions.csv"  # the output of `make predict`, after `NAME.` for one file
PREDICTION_COLUMNS = ("file", "row", "label", "probability", "problem")
_IN_EXCEL, _UNPACKED = "Save it in Excel as 'CSV UTF-8'.", "Unpack it, or compress it with gzip."
REMEDIES = {
    **dict.fromkeys((".xlsx", ".xls"), _IN_EXCEL),
    **dict.fromkeys((".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz", ".rar"), _UNPACKED),
}
# A file that unpacks to more than this many times its size, and to more than this many bytes, is a
# decompression bomb; text packs to a third or a tenth of its size.
MAX_UNPACKED_RATIO, MIN_DECOMPRESSION_BOMB_BYTES = 100, 2**28
DECOMPRESSION_BOMB_MESSAGE = (
    f"must unpack to at most {MAX_UNPACKED_RATIO} times its size, or to"
    f" {MIN_DECOMPRESSION_BOMB_BYTES / 2**20:.0f} MiB if that is more; it unpacks to more."
)


class _Counted(io.RawIOBase):
    def __init__(self, path: Path, progress: Progress | None) -> None:
        self._file, self._progress = path.open("rb"), progress
        self._size, self._label = max(path.stat().st_size, 1), f"reading {path.name}"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._file.readinto(buffer)
        if self._progress:
            self._progress(self._label, self._file.tell() / self._size)
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


class _Unpacked(io.RawIOBase):
    def __init__(self, packed: IO[bytes], *, n_packed: int) -> None:
        self._file = gzip.GzipFile(fileobj=packed)
        self._left = max_unpacked(n_packed)
        self.is_decompression_bomb = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._file.readinto(buffer)
        self._left -= n
        if self._left < 0:
            self.is_decompression_bomb = True
            # An OSError, because pandas replaces other exceptions by its own. `opened` makes the
            # message.
            raise OSError("decompression bomb")
        return n


def max_unpacked(n_packed: int) -> int:
    return max(MAX_UNPACKED_RATIO * n_packed, MIN_DECOMPRESSION_BOMB_BYTES)


def find_files(
    pattern: str, *, flag: str = "data", formats: tuple[str, ...] = FORMATS
) -> list[Path]:
    try:
        path = Path(pattern).expanduser()
        # A name may contain the characters of a pattern, such as "reviews[1].csv".
        names = [path] if path.exists() else sorted(glob.glob(str(path), recursive=True))
    # The pattern may be too long, contain a NUL, or name the home of an unknown user.
    except (OSError, ValueError, RuntimeError):
        names = []
    if not names:
        raise MissingFileError(
            f"{flag} must name a file that exists; no file matches {pattern!r}. The working"
            f" directory is {Path.cwd()}."
        )
    paths = [Path(name) for name in names]
    for path in paths:
        if path.is_dir():
            raise DataError(
                f"{flag} must name files; {str(path)!r} is a directory. Use a pattern such as"
                f" '{path}/*.csv'."
            )
        if not path.exists():  # A pattern also matches a link to a file that does not exist.
            raise DataError(f"{flag} must name files that exist; {str(path)!r} leads to none.")
        if file_format(path) not in formats:
            remedy = REMEDIES.get(file_format(path), "Rename the file after its format.")
            raise DataError(
                f"A data file must end in {', '.join(formats)}, each also with .gz; received"
                f" {path.name!r}. {remedy}"
            )
    return paths


def text_files(pattern: str) -> list[Path]:
    paths = find_files(pattern, flag="file", formats=TEXT_FORMATS)
    # A second `make predict` in a folder must not label the predictions of the first. A file that
    # is named alone is read, whatever its name is.
    return [path for path in paths if not _is_prediction(path)] or paths


def _is_prediction(path: Path) -> bool:
    if not f".{path.name}".endswith(f".{PREDICTIONS}"):
        return False
    with opened(path) as file:
        return file.readline(100).startswith(",".join(PREDICTION_COLUMNS).encode())


def _first_bad_byte(path: Path, *, default: int) -> int:
    """Return the position of the first byte that is not UTF-8 in the unpacked file. `default` is
    the position in the block in which a decoder failed.
    """
    with gzip.open(path) if is_packed(path) else path.open("rb") as file:
        try:
            file.read(MIN_DECOMPRESSION_BOMB_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            return error.start
        except (EOFError, zlib.error, OSError):  # The archive is broken.
            return default
    return default


def file_format(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


@contextlib.contextmanager
def opened(path: Path, progress: Progress | None = None) -> Iterator[IO[bytes]]:
    """Open a data file as a context with its bytes, unpacked. Errors inside the context that
    concern the file become a `DataError` too.
    """
    unpacked: _Unpacked | None = None
    try:
        with io.BufferedReader(_Counted(path, progress), buffer_size=1 << 20) as raw:
            if is_packed(path):
                unpacked = _Unpacked(cast("IO[bytes]", raw), n_packed=path.stat().st_size)
            yield cast(
                "IO[bytes]", io.BufferedReader(unpacked, buffer_size=1 << 20) if unpacked else raw
            )
    except UnicodeDecodeError as error:
        start = _first_bad_byte(path, default=error.start)
        is_utf_16 = error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "UTF-16" if start == 0 and is_utf_16 else "WINDOWS-1252"
        raise DataError(
            f"{path} must be UTF-8; {error.reason} at byte {start}. Save it in Excel as 'CSV UTF-8'"
            f" or convert it: `iconv -f {encoding} -t UTF-8 OLD > NEW`."
        ) from error
    except (OSError, EOFError, zlib.error, DataError, MemoryError) as error:
        if unpacked and unpacked.is_decompression_bomb:
            message = f"{DECOMPRESSION_BOMB_MESSAGE} If you trust the file, unpack it yourself."
        elif isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
            message = f"must be a whole gzip file; unpacking it gave: {error}. Fetch it again."
        elif isinstance(error, OSError):
            message = f"must be readable; opening it gave: {error.strerror or error}."
        else:
            raise
        raise DataError(f"{path} {message}") from error
