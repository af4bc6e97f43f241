"""What lies in the results folder and no study needs: named first, and removed when that is asked
for.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from tuning.errors import StorageError, StudyError, TuningError
from tuning.results import ResultsDir, StudyDir, translated
from tuning.study.lock import is_locked
from tuning.study.record import read_record
from tuning.study.storage import open_storage
from tuning.study.study import recorded_config
from tuning.study.summary import summarize

ARTIFACTS = "artifacts:"  # the prefix under which Optuna keeps what it knows of an artifact
MAX_CACHE_BYTES = 10 * 2**30  # of tokenised data; 1,000,000 reviews are 0.4 GiB
MAX_ARTIFACT_BYTES = 2**28  # a confusion matrix takes 2 kB with 2 classes, 3 MB with 100
N_BEST = 5  # trials of a study whose confusion matrix is kept, whatever it takes


@dataclass(frozen=True)
class Removable:
    """A file or folder that can go, and why."""

    path: Path
    why: str
    n_bytes: int


def removable(results: ResultsDir, *, storage_url: str) -> list[Removable]:
    """Whatever no study needs; nothing of a study that is being tuned now, and no tokenised data
    while one is.

    Exports, reports, logs and histories are never among it.
    """
    studies = [StudyDir(path.parent) for path in sorted(results.path.glob("*/study.json"))]
    idle = [study for study in studies if not is_locked(study.lock_path)]
    opened = cache(
        partial(open_storage, storage_url)
    )  # once, and only if there is something to ask it
    found = [(path, why) for study in idle for path, why in _of_study(study, opened)]
    if not at_work(results):
        found += [(path, "no study uses these tokenised data") for path in unused_caches(results)]
        found += [
            (path, "no trial has this artifact")
            for path in _unknown_artifacts(results, studies, opened)
        ]
        found += [
            (path, f"artifacts take over {MAX_ARTIFACT_BYTES >> 20} MiB; not of a best trial")
            for path in _too_many(results, opened)
        ]
    return [Removable(path, why, size(path)) for path, why in found]


def remove(found: list[Removable]) -> None:
    """Remove what `removable` named.

    Raises:
        StorageError: the folder is read-only.
    """
    for one in found:
        with translated(one.path):
            if one.path.is_dir():
                shutil.rmtree(one.path)
            else:
                one.path.unlink(missing_ok=True)


def bound_caches(results: ResultsDir, *, own: StudyDir, keep: str) -> list[Path]:
    """Remove the oldest tokenised data that no study uses while all of them take more than
    `MAX_CACHE_BYTES`; returns what is gone.

    Nothing goes while a process works on another study than `own`: one that is new uses data that
    it has not told of yet.
    """
    gone: list[Path] = []
    total = size(results.path / "cache")
    if total <= MAX_CACHE_BYTES or at_work(results, but=own):
        return gone
    for path in sorted(unused_caches(results), key=lambda path: path.stat().st_mtime):
        if total <= MAX_CACHE_BYTES:
            break
        if path.name != keep:
            total -= size(path)
            shutil.rmtree(path, ignore_errors=True)
            gone.append(path)
    return gone


def bound_artifacts(results: ResultsDir, storage: BaseStorage) -> list[Path]:
    """Remove the oldest artifacts, each with its copy beside the trial, while all take more than
    `MAX_ARTIFACT_BYTES`.

    Those of the best `N_BEST` trials of a study and of its Pareto front stay, and so does what no
    ended trial of these studies has.

    Returns:
        what is gone.
    """
    gone = _too_many(results, lambda: storage)
    for path in gone:
        with translated(path):
            path.unlink(missing_ok=True)
    return gone


def _too_many(results: ResultsDir, opened: Callable[[], BaseStorage]) -> list[Path]:
    """What `bound_artifacts` removes."""
    total, found = size(results.artifacts_dir), []
    if total <= MAX_ARTIFACT_BYTES:
        return []
    for artifact, copy in sorted(
        _spare_artifacts(results, opened()), key=lambda pair: pair[0].stat().st_mtime
    ):
        if total <= MAX_ARTIFACT_BYTES:
            break
        total -= artifact.stat().st_size
        found += [artifact, *([copy] if copy.exists() else [])]
    return found


def _spare_artifacts(results: ResultsDir, storage: BaseStorage) -> Iterator[tuple[Path, Path]]:
    """The artifacts of ended trials that are not among the best, each with its copy."""
    for folder in (StudyDir(path.parent) for path in sorted(results.path.glob("*/study.json"))):
        try:
            metric = recorded_config(folder).metric
            summary = summarize(
                optuna.load_study(study_name=folder.name, storage=storage), metric=metric
            )
        except (
            TuningError,
            KeyError,
        ):  # it does not tell which trials are its best, or has its record in another storage
            continue
        kept = {trial.number for trial in (*summary.ranked[:N_BEST], *summary.front)}
        for trial in summary.trials:
            if trial.number in kept or not trial.state.is_finished():
                continue
            for path in (results.artifacts_dir / name for name in artifact_ids(trial.system_attrs)):
                if path.exists():
                    yield path, folder.confusion_path(trial.number)


def artifact_ids(attributes: Mapping[str, Any]) -> Iterator[str]:
    """The artifacts that a study or a trial has, out of its system attributes; the Dashboard sets
    what it deletes to null.
    """
    for name, value in attributes.items():
        found = json.loads(value) if name.startswith(ARTIFACTS) else None
        if found is not None:
            yield str(found["artifact_id"])


def at_work(results: ResultsDir, *, but: StudyDir | None = None) -> bool:
    """Whether a process works on some study of the folder, be it so new that it has no
    record yet.
    """
    locks = [
        path for path in results.path.glob("*/owner.lock") if but is None or path.parent != but.path
    ]
    return any(is_locked(path) for path in locks)


def unused_caches(results: ResultsDir) -> list[Path]:
    """The tokenised data of no study; none where a study does not tell what it uses, or where they
    are being written.
    """
    try:
        studies = [StudyDir(path.parent) for path in results.path.glob("*/study.json")]
        used = {read_record(study).data_fingerprint for study in studies}
    except (StorageError, StudyError):
        return []
    folders = [
        path
        for path in sorted((results.path / "cache").glob("*"))
        if path.is_dir() and path.name.removesuffix(".tmp") not in used
    ]
    return [
        path
        for path in folders
        if not is_locked(path.with_name(path.name.removesuffix(".tmp") + ".lock"))
    ]


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())


def _of_study(study: StudyDir, opened: Callable[[], RDBStorage]) -> Iterator[tuple[Path, str]]:
    """What a dead process left half written, and checkpoints of trials that have ended."""
    halves = [path for path in study.path.rglob("*.tmp") if path.parent.name != "best.tmp"]
    if not study.best_dir.exists() or is_locked(
        study.export_lock_path
    ):  # else one of them may be the only export there is
        halves = [path for path in halves if path.name != "best.tmp"]
    else:
        halves += study.path.glob(
            "best.old"
        )  # earlier versions of this program left it between two renames
    for path in sorted(halves):
        yield path, "a process died while it wrote this"
    checkpoints = {
        study.checkpoint_path(int(path.parent.name)): int(path.parent.name)
        for path in study.path.glob("trials/*/checkpoint.npz")
    }
    if not checkpoints:
        return
    try:
        trials = optuna.load_study(study_name=study.name, storage=opened()).get_trials(
            deepcopy=False
        )
    except KeyError:  # its record is in another storage
        return
    waiting = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
    for path, number in checkpoints.items():
        if number not in waiting:
            yield path, "its trial has ended"


def _unknown_artifacts(
    results: ResultsDir, studies: Sequence[StudyDir], opened: Callable[[], RDBStorage]
) -> list[Path]:
    files = [path for path in sorted(results.artifacts_dir.glob("*")) if path.is_file()]
    if not files:
        return []
    known = set()
    storage = opened()
    if not {study.name for study in studies} <= set(optuna.get_all_study_names(storage)):
        # some study's record is in another storage, and so is what it knows of its artifacts
        return []
    for study in optuna.get_all_study_summaries(storage):
        owners = [
            storage.get_study_system_attrs(study._study_id),
            *(
                trial.system_attrs
                for trial in storage.get_all_trials(study._study_id, deepcopy=False)
            ),
        ]
        known |= {name for attributes in owners for name in artifact_ids(attributes)}
    return [path for path in files if path.name not in known]
