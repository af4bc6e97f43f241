"""The removal of files in the results folder that no study needs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tuning.atomic_io import translated
from tuning.errors import StorageError, StudyError
from tuning.results import ResultsDir, StudyDir
from tuning.study.lock import is_locked
from tuning.study.storage import missing_file, open_storage
from tuning.study.study import read_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Removable:
    path: Path
    reason: str
    n_bytes: int


def find_removable(results: ResultsDir, *, storage_url: str) -> list[Removable]:
    """List the files and folders that no study needs, except those that a process may be working
    on. Exports, reports, logs and histories are never listed.
    """
    studies = [StudyDir(path.parent) for path in sorted(results.path.glob("*/study.json"))]
    idle = [study for study in studies if not is_locked(study.lock_path)]
    # The storage is opened at the first use. Opening a file that does not exist would create it.
    opened = None if missing_file(storage_url) else cache(partial(open_storage, storage_url))
    reasons = [(path, reason) for study in idle for path, reason in _of_study(study, opened)]
    # A process may work on a study that has no `study.json` yet.
    if not any(map(is_locked, results.path.glob("*/owner.lock"))):
        reasons += [(path, "no study uses these tokenized data") for path in unused_caches(results)]
        # Earlier versions stored the confusion matrices of the best trials for the Dashboard.
        artifacts = results.path / "artifacts"
        reasons += [(artifacts, "this version does not read it")] if artifacts.exists() else []
    return [Removable(path, reason, size(path)) for path, reason in reasons]


def remove(removables: list[Removable]) -> None:
    for item in removables:
        with translated(item.path):
            if item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)


def unused_caches(results: ResultsDir) -> list[Path]:
    """List the folders of tokenized data that no study uses and no process is writing.

    The list is empty where a `study.json` can't be read, because any data may be that study's.
    """
    try:
        studies = [StudyDir(path.parent) for path in results.path.glob("*/study.json")]
        used = {read_record(study).data_fingerprint for study in studies}
    except (StorageError, StudyError) as error:
        logger.warning("all tokenized data are kept: %s", error)
        return []
    unused = []
    for path in sorted((results.path / "cache").glob("*")):
        name = path.name.removesuffix(".tmp")
        if path.is_dir() and name not in used and not is_locked(path.with_name(f"{name}.lock")):
            unused.append(path)
    return unused


def size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())


def _of_study(
    study: StudyDir, opened: Callable[[], RDBStorage] | None
) -> Iterator[tuple[Path, str]]:
    unfinished = [path for path in study.path.rglob("*.tmp") if path.parent.name != "best.tmp"]
    if is_locked(study.export_lock_path):  # best.tmp is being written.
        unfinished = [path for path in unfinished if path.name != "best.tmp"]
    for path in sorted(unfinished):
        yield path, "a process ended while it wrote this file"
    numbers = [int(path.parent.name) for path in study.path.glob("trials/*/checkpoint.npz")]
    if not numbers or opened is None:
        return
    try:
        loaded = optuna.load_study(study_name=study.name, storage=opened())
    except KeyError:  # The trials are in another storage.
        return
    trials = loaded.get_trials(deepcopy=False)
    running = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
    for number in numbers:
        if number not in running:
            yield study.checkpoint_path(number), "its trial has ended"
