"""Open, join, resume or refuse a study.

Optuna's storage is the record of trials. `study.json` and `search_space.json` hold what the study
is, and never change.
"""

from __future__ import annotations

import contextlib
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna

from tuning import documents
from tuning.config import StudyConfig, differences
from tuning.documents import unstructure
from tuning.errors import StudyError
from tuning.results import ResultsDir, StudyDir, parsed, read_json, write_json
from tuning.spaces.loading import SearchSpace
from tuning.study.coordinators import identify
from tuning.study.record import StudyIdentity, StudyRecord, read_record, record_in_storage
from tuning.study.samplers import make_pruner
from tuning.study.storage import hide_password, locked, missing_file, open_storage, storage_errors

RECORD, SPACE = (
    "record",
    "search_space",
)  # attributes of a study: what study.json and search_space.json hold
PACKAGES = (
    "tensorflow",
    "keras",
    "keras-tuner",
    "optuna",
    "numpy",
    "pandas",
    "scikit-learn",
    "onnxruntime",
    "ai-edge-litert",
)


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout, or None outside one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def recorded_config(folder: StudyDir) -> StudyConfig:
    """The configuration a study was created with.

    Raises:
        StudyError: `study.json` is missing or does not hold one.
    """
    return read_record(folder).config


def recorded_space(folder: StudyDir) -> SearchSpace:
    """The search space a study was created with.

    Raises:
        StudyError: `search_space.json` does not hold one.
    """
    with parsed(folder.space_path, "a search space"):
        return SearchSpace.from_dict(read_json(folder.space_path))


def open_study(
    results: ResultsDir,
    config: StudyConfig,
    space: SearchSpace,
    *,
    data_fingerprint: str,
    storage_url: str,
) -> optuna.Study:
    """Create a study, or resume it if it is the same.

    Raises:
        StudyError: the study was created with another configuration, space or data; both sides are
            shown.
        StorageError: the storage or the results folder can't be written.
    """
    folder = results.study(config.study)
    now = StudyIdentity(
        config=config, data_fingerprint=data_fingerprint, space_fingerprint=space.fingerprint
    )
    if folder.config_path.exists():
        refuse_differences(folder, now)
    storage = open_storage(storage_url)
    with contextlib.ExitStack() as stack:
        stack.callback(
            storage.engine.dispose
        )  # a study that is refused leaves no connection; another is made where it is needed
        stack.enter_context(locked(storage, config.study))  # two machines may create it at once
        _refuse_half(folder, storage, storage_url=storage_url)
        study = optuna.create_study(
            storage=storage,
            study_name=config.study,
            directions=config.directions,
            load_if_exists=True,
            pruner=make_pruner(config.pruner, epochs=config.train.epochs),
        )
        study.set_metric_names([config.metric, *config.costs])
        if not folder.config_path.exists():
            record = StudyRecord(
                **vars(now),
                created=datetime.now(UTC).isoformat(timespec="microseconds"),
                versions=describe_versions(),
                git_commit=git_commit(Path(__file__).parent),
            )
            write_json(folder.space_path, space.to_dict())
            documents.write(folder.config_path, record)
        _tell_what_it_is(study, folder, storage_url=storage_url)
    return study


def _tell_what_it_is(study: optuna.Study, folder: StudyDir, *, storage_url: str) -> None:
    """Keep in the storage what the study's folder holds, for those that join.

    Raises:
        StudyError: the folder is that of another study of this name.
    """
    record = read_record(folder)
    if RECORD not in study.user_attrs:
        study.set_user_attr("space", f"{recorded_space(folder).name} {record.space_fingerprint}")
        study.set_user_attr("data", f"{record.config.data.data} {record.data_fingerprint}")
        study.set_user_attr(SPACE, read_json(folder.space_path))
        study.set_user_attr(RECORD, unstructure(record))
        return
    told = record_in_storage(study.user_attrs[RECORD], folder.name)
    if told.created != record.created:
        raise StudyError(
            f"A folder must be that of the study in the storage; {folder.path} was made"
            f" {record.created}, the study {folder.name!r} in {hide_password(storage_url)}"
            f" {told.created}. Name another folder with --results, or another study with"
            " --study."
        )


def _refuse_half(
    folder: StudyDir, storage: optuna.storages.BaseStorage, *, storage_url: str
) -> None:
    """A study has a folder and is in the storage, or neither.

    Raises:
        StudyError: it is in one of them; but not if it was killed while it was being created.
    """
    study_id = next(
        (s._study_id for s in storage.get_all_studies() if s.study_name == folder.name), None
    )
    if folder.config_path.exists() and study_id is None:
        raise StudyError(
            f"Study {folder.name!r} must be in the storage; {hide_password(storage_url)} does not"
            " hold it. Name the storage it was tuned in with --storage, or start another study"
            " with --study NAME."
        )
    if study_id is not None and not folder.config_path.exists():
        if RECORD not in storage.get_study_user_attrs(study_id) and not storage.get_all_trials(
            study_id, deepcopy=False
        ):
            return
        raise StudyError(
            f"A study in the storage must have its folder; {folder.name!r} is in"
            f" {hide_password(storage_url)}, but {folder.config_path} is missing. To work on it"
            " from here too, add --join; else choose another name with --study, or put the folder"
            " back."
        )


def fetch_study(folder: StudyDir, *, storage_url: str, moved: Mapping[str, Any]) -> None:
    """Make the folder of a study that others have created, out of what the storage knows of it. One
    that is there stays as it is.

    `moved`: where the search space (`space`) and the data (`data`, some values of a `DataConfig`)
    lie on this machine.

    Raises:
        StudyError: the storage does not hold it, or it is of a version that could not be joined.
    """
    if folder.config_path.exists():
        return
    missing = missing_file(storage_url)
    if missing:
        raise StudyError(f"A study to join must be in the storage; there is no file {missing}.")
    storage = open_storage(storage_url)
    try:
        with storage_errors(storage_url):
            names = [s.study_name for s in storage.get_all_studies()]
            if folder.name not in names:
                known = f"it holds {', '.join(sorted(names))}" if names else "it holds none"
                raise StudyError(
                    f"A study to join must be in the storage; {folder.name!r} is not in"
                    f" {hide_password(storage_url)}, {known}."
                )
            attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(folder.name))
            if RECORD not in attributes:
                raise StudyError(
                    f"A study to join must have told the storage what it is; {folder.name!r} has"
                    " not: it is being created just now, or an older version made it. Wait a"
                    " moment and type the same again."
                )
            identify(folder, joins=True)
            write_json(folder.space_path, attributes[SPACE])
            config = record_in_storage(attributes[RECORD], folder.name).config
            here = replace(
                config,
                space=moved.get("space", config.space),
                data=replace(config.data, **moved.get("data", {})),
            )
            # Keys that a newer version has written stay in the record.
            write_json(folder.config_path, {**attributes[RECORD], "config": unstructure(here)})
    finally:
        storage.engine.dispose()


def refuse_differences(folder: StudyDir, requested: StudyIdentity) -> None:
    """Compare with `study.json`.

    Raises:
        StudyError: with every difference, both sides shown.
    """
    recorded = read_record(folder)
    old, new = (
        {name: value for name, value in unstructure(one).items() if hasattr(requested, name)}
        for one in (recorded, requested)
    )
    if recorded.data_fingerprint == requested.data_fingerprint:
        for one in (old, new):  # the same texts and labels, wherever they lie now
            del one["config"]["data"]
    lines = differences(old, new)
    if lines:
        raise StudyError(
            f"Study {folder.name!r} must go on as it was created; "
            + "; ".join(lines)
            + ". Use the same values, or start another study with --study NAME."
        )


def load_study(results: ResultsDir, folder: StudyDir, *, storage_url: str) -> optuna.Study:
    """An existing study, to read.

    Raises:
        StudyError: the storage does not hold it.
    """
    if (
        storage_url.startswith("sqlite:///")
        and not results.database_path.exists()
        and storage_url == results.storage_url(None)
    ):
        raise StudyError(
            f"Study {folder.name!r} must be in {results.database_path}; that file is missing. "
            "Name the storage it was tuned in with --storage."
        )
    storage = open_storage(storage_url)
    try:
        return optuna.load_study(study_name=folder.name, storage=storage)
    except KeyError:
        raise StudyError(
            f"Study {folder.name!r} must be in the storage; {hide_password(storage_url)} does not"
            " hold it. Name the storage it was tuned in with --storage."
        ) from None
