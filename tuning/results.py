"""The paths below `results/`, writes of whole files, and errors of a full or read-only folder."""

import contextlib
import csv
import html
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.errors import StorageError, StudyError

SCHEMA_VERSION = 1
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def safe_name(text: str) -> str:
    """Return a text as a part of a study's name: each other character becomes `_`."""
    return "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "_" for c in text)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` that names `path` and a remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"The results folder must be writable and have space; {path} gave {reason!r}. "
            "Free some space, change its permissions, or name another folder with --results."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole text file in UTF-8. After an error the old file is unchanged."""
    write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file. After an error the old file is unchanged.

    The bytes are written to `name.tmp`, which is then renamed.

    Raises:
        StorageError: if the folder is full or read-only, or can't be created.
    """
    temporary = path.with_name(path.name + ".tmp")
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write indented, sorted JSON with `schema_version`; after an error keep the old file."""
    text = json.dumps(
        {"schema_version": SCHEMA_VERSION, **values}, indent=2, sort_keys=True, ensure_ascii=False
    )
    write_text(path, text + "\n")


def read_json(path: Path, *, version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """Return the values of a file that `write_json` wrote, without `schema_version`.

    Raises:
        StorageError: if the file can't be read, is not a JSON object, or has a schema version other
            than `version`.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} must contain JSON written by this program; reading it gave: {error}."
        ) from error
    stored = values.pop("schema_version", None) if isinstance(values, dict) else None
    if stored != version:
        raise StorageError(f"{path} must have schema_version {version}; it has {stored!r}.")
    # Only a dict has a schema version.
    return values  # type: ignore[no-any-return]


def json_line(values: dict[str, Any]) -> str:
    """Return JSON on one line. Characters that can't be printed are escaped."""
    line = json.dumps(values, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def visible(text: str) -> str:
    """Return a text on one line, with a space for each character that can't be printed.

    Such characters are line breaks, escape sequences that move a cursor or set colors, and marks
    that change the writing direction.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def escape_markdown(value: object) -> str:
    """Return a text on one line, escaped for Markdown with formulas, and for HTML."""
    escaped = html.escape(visible(str(value)), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#~$" else c for c in escaped)


def no_formula(value: Any) -> Any:
    """Return a value as a CSV cell: text that a spreadsheet would take for a formula gets a `'`."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a whole CSV file. Missing keys are empty cells; an error keeps the old file."""
    buffer = io.StringIO(newline="")
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(buffer, fieldnames=list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the epochs of a trial's `history.csv`: for each the metrics that have a value."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


@dataclass(frozen=True)
class StudyDir:
    """The folder of one study."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_path(self) -> Path:
        return self.path / "study.json"

    @property
    def space_path(self) -> Path:
        return self.path / "search_space.json"

    @property
    def log_path(self) -> Path:
        return self.path / "tuning.log"

    @property
    def lock_path(self) -> Path:
        return self.path / "owner.lock"

    @property
    def export_lock_path(self) -> Path:
        return self.path / "best.lock"

    def tracker_lock_path(self, digest: str) -> Path:
        return self.path / "trackers" / f"{digest}.lock"

    @property
    def lock_holder_path(self) -> Path:
        return self.path / "owner.json"

    @property
    def coordinator_path(self) -> Path:
        return self.path / "coordinator.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def trials_csv_path(self) -> Path:
        return self.path / "trials.csv"

    @property
    def confirmation_path(self) -> Path:
        return self.path / "confirmation.json"

    @property
    def comparison_path(self) -> Path:
        return self.path / "comparison.json"

    @property
    def comparison_page_path(self) -> Path:
        return self.path / "comparison.html"

    @property
    def test_path(self) -> Path:
        return self.path / "test.json"

    @property
    def test_predictions_path(self) -> Path:
        return self.path / "test.npz"

    @property
    def best_dir(self) -> Path:
        return self.path / "best"

    def history_path(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}" / "history.csv"

    def error_path(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}" / "error.txt"

    def checkpoint_path(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}" / "checkpoint.npz"

    def repeat_path(self, number: int, seed: int) -> Path:
        """The trained model of a confirmation's repeat of a trial on a seed."""
        return self.path / "repeats" / f"{number:04d}-{seed}.npz"

    def confusion_path(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}" / "confusion_matrix.svg"


@dataclass(frozen=True)
class ResultsDir:
    """The folder of all studies."""

    path: Path

    @property
    def database_path(self) -> Path:
        return self.path / "optuna.db"

    @property
    def artifacts_dir(self) -> Path:
        return self.path / "artifacts"

    def cache_dir(self, fingerprint: str) -> Path:
        return self.path / "cache" / fingerprint

    def storage_url(self, storage: str | None) -> str:
        """Return `storage` if it is given, else the absolute URL of this folder's SQLite file."""
        return storage or f"sqlite:///{self.database_path.absolute()}"

    def study(self, name: str) -> StudyDir:
        """Return the folder of a study.

        Raises:
            StudyError: if the name contains characters other than letters, digits, `.`, `_` and
                `-`, is too long, or is the name of another folder of `results/`.
        """
        if (
            not _STUDY_NAME.fullmatch(name)
            or name in {"cache", "artifacts", "bench"}
            or name.startswith("optuna.db")
        ):
            raise StudyError(
                "A study's name must be made of letters, digits, '.', '_' and '-', start with a"
                " letter or digit, have at most 100 characters, and not be cache, artifacts, bench"
                f" or optuna.db; received {name!r}."
            )
        return StudyDir(self.path / name)

    def latest(self) -> StudyDir:
        """Return the folder of the study that was tuned last.

        Raises:
            StudyError: if the folder contains no study.
        """
        folders = [StudyDir(p.parent) for p in self.path.glob("*/study.json")]
        if not folders:
            raise StudyError(
                f"{self.path} must contain a study; it has none. Type `make tune` first."
            )
        return max(
            folders,
            key=lambda s: (s.log_path if s.log_path.exists() else s.config_path).stat().st_mtime,
        )

    def existing(self, name: str | None) -> StudyDir:
        """Return the folder of the named study, or of the study that was tuned last if the name is
        None.

        Raises:
            StudyError: if the study does not exist. The message lists the studies of the folder.
        """
        if name is None:
            return self.latest()
        study = self.study(name)
        if not study.config_path.exists():
            names = sorted(p.parent.name for p in self.path.glob("*/study.json"))
            known = f"it has {', '.join(names)}" if names else "it has none; type `make tune` first"
            raise StudyError(f"Study {name!r} must be in {self.path}; {known}.")
        return study
