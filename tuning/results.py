"""The paths of all files below `results/`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tuning.commands import typed
from tuning.errors import StudyError

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def safe_name(text: str) -> str:
    """Return a text as a part of a study's name: each other character becomes `_`."""
    return "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "_" for c in text)


class _File:
    """The path of a file or folder in a study's folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, study: StudyDir, owner: type) -> Path:
        return study.path / self._name


@dataclass(frozen=True)
class StudyDir:
    path: Path

    config_path = _File("study.json")
    space_path = _File("search_space.json")
    log_path = _File("tuning.log")
    lock_path = _File("owner.lock")
    lock_holder_path = _File("owner.json")
    report_path = _File("report.html")
    trials_csv_path = _File("trials.csv")
    labels_csv_path = _File("labels_to_check.csv")
    confirmation_path = _File("confirmation.json")
    test_path = _File("test.json")
    test_predictions_path = _File("test.npz")
    best_dir = _File("best")
    export_lock_path = _File("best.lock")

    @property
    def name(self) -> str:
        return self.path.name

    def tracker_lock_path(self, digest: str) -> Path:
        return self.path / "trackers" / f"{digest}.lock"

    def history_path(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}" / "history.csv"

    def error_path(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}" / "error.txt"

    def checkpoint_path(self, number: int) -> Path:
        return self.path / "trials" / f"{number:04d}" / "checkpoint.npz"

    def repeat_path(self, number: int, seed: int, *, is_resplit: bool = False) -> Path:
        """`is_resplit`: of a repeat that has drawn validation rows of its own."""
        suffix = "-resplit" if is_resplit else ""
        return self.path / "repeats" / f"{number:04d}-{seed}{suffix}.npz"


@dataclass(frozen=True)
class ResultsDir:
    path: Path
    _absolute: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_absolute", self.path.absolute())

    @property
    def current(self) -> ResultsDir:
        """The same folder, also after the working directory has changed. Its path is the one that
        the user gave, which messages show, while this leads to the folder.
        """
        return self if self.path.absolute() == self._absolute else ResultsDir(self._absolute)

    @property
    def database_path(self) -> Path:
        return self.path / "optuna.db"

    def cache_dir(self, fingerprint: str) -> Path:
        return self.path / "cache" / fingerprint

    def storage_url(self, storage: str | None) -> str:
        return storage or f"sqlite:///{self.database_path.absolute()}"

    def study(self, name: str) -> StudyDir:
        # The folder of all studies has entries of these names that are no studies.
        if (
            not isinstance(name, str)  # A call from Python may give another value.
            or not _STUDY_NAME.fullmatch(name)
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
        folders = [StudyDir(p.parent) for p in self.path.glob("*/study.json")]
        if not folders:
            raise StudyError(
                f"{self.path} must contain a study; it has none. Type `{typed('tune')}` first."
            )
        # Searches, confirmations and exports write to the log of their study.
        return max(
            folders,
            key=lambda s: (s.log_path if s.log_path.exists() else s.config_path).stat().st_mtime,
        )

    def existing(self, name: str | None) -> StudyDir:
        """Return the folder of the named study, or of the study that was used last."""
        if name is None:
            return self.latest()
        study = self.study(name)
        if not study.config_path.exists():
            names = sorted(p.parent.name for p in self.path.glob("*/study.json"))
            known = ", ".join(names) if names else f"none; type `{typed('tune')}` first"
            raise StudyError(f"Study {name!r} must be in {self.path}; it has {known}.")
        return study
