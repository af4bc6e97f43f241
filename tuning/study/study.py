"""The record of a study, its creation, and the checks of a call that resumes or joins the study.

The trials are in Optuna's storage alone. `study.json`, the record, and `search_space.json` in the
study's folder are written once; the storage has a copy of both.
"""

from __future__ import annotations

import contextlib
import platform
import re
import subprocess
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna

from tuning import documents
from tuning.atomic_io import read_json, write_json
from tuning.commands import typed
from tuning.config import StudyConfig, differences
from tuning.data.folders import checksum_of_encoder
from tuning.documents import OMIT_DEFAULT, unstructure
from tuning.errors import StudyError
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.study.coordinators import FIRST_COORDINATOR, has_begun, identify
from tuning.study.samplers import make_pruner
from tuning.study.storage import (
    hide_password,
    missing_file,
    open_storage,
    storage_errors,
    storage_lock,
)

REMEDY = "Put the file back as it was, or give the study another name (study)."
# Attributes of a study in the storage: the contents of study.json and search_space.json.
RECORD, SPACE = "record", "search_space"
# Names of the files of a data frame and of a space of a notebook or script, which contain a hash of
# the content (`tuning.api.inputs.content_name`).
WRITTEN_FILE = re.compile(r"\w+-[0-9a-f]+\.(parquet|py)")
# Settings in the record → the parameters that set them, where the names differ.
PARAMETERS = {"costs": "objectives", "n_folds": "folds"}
# Settings that a call derives from the data (`prepare.with_parts`).
FROM_DATA = {
    *("config.resplit", "config.counts_validation"),
    *(f"config.train.{name}" for name in ("n_folds", "parts_per_epoch", "evaluates_fitted")),
}
PACKAGES = (
    *("tensorflow", "keras", "keras-tuner", "optuna", "numpy", "pandas", "scikit-learn"),
    "onnxruntime",
)


@dataclass(frozen=True, kw_only=True)
class StudyIdentity:
    """Two calls with equal values work on the same study."""

    config: StudyConfig
    data_fingerprint: str
    space_fingerprint: str


@dataclass(frozen=True, kw_only=True)
class StudyRecord(StudyIdentity):
    """`versions` and `git_commit` are of the packages and of the program that created the study.
    `encoders` has the checksum of each Keras model or preset in a folder, by its path.
    """

    created: str
    versions: dict[str, str]
    git_commit: str | None = None
    encoders: dict[str, str] = field(default_factory=dict, metadata=OMIT_DEFAULT)


def describe_versions() -> dict[str, str]:
    # The packages of the extra `pretrained`.
    optional = [n for n in ("keras-hub", "tokenizers") if find_spec(n.replace("-", "_"))]
    names = (*PACKAGES, *optional)
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def read_record(folder: StudyDir) -> StudyRecord:
    if not folder.config_path.exists():
        raise StudyError(
            f"Study {folder.name!r} must have a {folder.config_path.name}; its folder has none."
            f" Type `{typed('tune')}` first."
        )
    record = documents.read(folder.config_path, StudyRecord, error=StudyError, remedy=REMEDY)
    config = record.config
    data = replace(config.data, data=_present_place(config.data.data, folder))
    here = replace(config, space=_present_place(config.space, folder), data=data)
    return replace(record, config=here)


def _present_place(place: str, folder: StudyDir) -> str:
    """Return the path of a file that was written into the folder of a study or a comparison, which
    may have moved since with the folder of all studies; any other place stays as it is.
    """
    path = Path(place)
    here = (folder.path.parent / path.parent.name / path.name).absolute()
    return str(here) if WRITTEN_FILE.fullmatch(path.name) and here.is_file() else place


def record_in_storage(values: object, name: str) -> StudyRecord:
    try:
        return documents.structure(values, StudyRecord)
    except ValueError as error:
        raise StudyError(
            f"The record of study {name!r} in the storage must be as this program wrote it;"
            f" {error}. Use the version that created the study, or start another study."
        ) from error


def refuse_differences(folder: StudyDir, requested: StudyIdentity) -> None:
    recorded = read_record(folder)
    # `asdict` keeps the defaults, which a document leaves out.
    old, new = (
        {name: value for name, value in asdict(record).items() if hasattr(requested, name)}
        for record in (recorded, requested)
    )
    # Equal fingerprints mean equal texts and labels, so their path may differ.
    if recorded.data_fingerprint == requested.data_fingerprint:
        for values in (old, new):
            del values["config"]["data"]
    _refuse(folder, differences(old, new))


def refuse_other_settings(folder: StudyDir, config: StudyConfig) -> None:
    """Refuse settings that differ from the study's, before the data are read. Settings with which
    the data may still be the same are left to `refuse_differences`.
    """
    found = differences(asdict(read_record(folder).config), asdict(config), "config.")
    _refuse(folder, {place: both for place, both in found.items() if _is_refused(place, both)})


def _is_refused(place: str, both: tuple[Any, Any]) -> bool:
    if not place.startswith("config.data."):
        return place not in FROM_DATA
    # Other settings of the data, such as the path, may give the same fingerprint. It contains the
    # kind, and the groups, times and weights of a study that has such a column.
    name = place.rpartition(".")[2]
    is_role = name in ("group_column", "time_column", "weight_column")
    return name == "kind" or (is_role and None in both)


def _refuse(folder: StudyDir, found: Mapping[str, tuple[Any, Any]]) -> None:
    if found:
        is_other_file, is_part = "config.space" in found, "config.train.parts_per_epoch" in found
        raise StudyError(
            f"Study {folder.name!r} must be continued with the settings it was created with; "
            + "; ".join(
                f"{_parameter(place)}: the study has {old_value!r}, this command has {new_value!r}"
                for place, (old_value, new_value) in found.items()
            )
            + (" (parts_per_epoch follows from min_texts)" if is_part else "")
            + (". A class that was changed is another search space" if is_other_file else "")
            + (". The data have changed: put them back" if "data_fingerprint" in found else "")
            + ". Use the same values, or give the study another name (study)."
        )


def _parameter(place: str) -> str:
    """Return `folds` for the setting at `config.train.n_folds`."""
    name = place.rpartition(".")[2]
    return PARAMETERS.get(name, name)


def require_same_encoders(
    record: StudyRecord, *, doing: str, presets: Container[str] | None = None
) -> None:
    """Check that the encoders of a study, or those among `presets`, have not changed. A study of an
    earlier version has recorded none. `doing`: the subject of the message.
    """
    for path, recorded in record.encoders.items():
        if presets is not None and path not in presets:
            continue
        if not Path(path).exists():
            raise StudyError(
                f"{doing} must have the encoder at {path}, as the machine that created the study;"
                " it is missing. Put it there, or start another study."
            )
        now = str(checksum_of_encoder(Path(path)))
        if now != recorded:
            raise StudyError(
                f"{doing} must use the encoder with which the study began; the checksum of {path}"
                f" was {recorded} and is {now} now. Put it back, or start another study."
            )


def recorded_space(folder: StudyDir) -> SearchSpace:
    return documents.read(folder.space_path, SearchSpace, error=StudyError, remedy=REMEDY)


def open_study(
    results: ResultsDir,
    config: StudyConfig,
    space: SearchSpace,
    *,
    data_fingerprint: str,
    storage_url: str,
) -> optuna.Study:
    folder = results.study(config.study)
    now = StudyIdentity(
        config=config, data_fingerprint=data_fingerprint, space_fingerprint=space.fingerprint
    )
    if folder.config_path.exists():
        refuse_differences(folder, now)
    storage = open_storage(storage_url)
    with contextlib.ExitStack() as stack:
        stack.callback(storage.engine.dispose)  # a refused study leaves no connection open
        stack.enter_context(storage_lock(storage, config.study))  # two machines may create it
        _refuse_incomplete(folder, storage)
        study = optuna.create_study(
            storage=storage,
            study_name=config.study,
            directions=config.directions,
            load_if_exists=True,
            pruner=make_pruner(config.pruner, config.train),
        )
        stored = [direction.name.lower() for direction in study.directions]
        if stored != config.directions:  # Optuna ignores the directions of an existing study.
            raise StudyError(
                f"Study {study.study_name!r} must {' and '.join(config.directions)}; another"
                f" program has created it to {' and '.join(stored)}. Delete it, or choose another"
                " name (study)."
            )
        study.set_metric_names([config.metric, *config.costs])
        if not folder.config_path.exists():
            record = StudyRecord(
                **vars(now),
                created=datetime.now(UTC).isoformat(timespec="microseconds"),
                versions=describe_versions(),
                git_commit=git_commit(),
                encoders={
                    preset: str(checksum_of_encoder(Path(preset)))
                    for preset in space.presets
                    if Path(preset).exists()
                },
            )
            # study.json goes last: if it exists, the folder is whole. A call that was killed before
            # leaves an entry without trials in the storage, which `_refuse_incomplete` accepts.
            write_json(folder.space_path, {**unstructure(space), "fingerprint": space.fingerprint})
            documents.write(folder.config_path, record)
        _copy_to_storage(study, folder, space, storage_url=storage_url)
    return study


def _copy_to_storage(
    study: optuna.Study, folder: StudyDir, space: SearchSpace, *, storage_url: str
) -> None:
    """Copy the files of the study's folder to the storage, for machines that join the study."""
    record = read_record(folder)
    if RECORD not in study.user_attrs:
        study.set_user_attr("space", f"{recorded_space(folder).name} {record.space_fingerprint}")
        study.set_user_attr("data", f"{record.config.data.data} {record.data_fingerprint}")
        study.set_user_attr(SPACE, read_json(folder.space_path))
        # The record goes last: a machine can join as soon as the storage has it.
        study.set_user_attr(RECORD, unstructure(record))
        return
    stored = record_in_storage(study.user_attrs[RECORD], folder.name)
    if stored.created != record.created:
        raise StudyError(
            f"A folder must belong to the study in the storage; {folder.path} was created"
            f" {record.created}, the study {folder.name!r} in {hide_password(storage_url)}"
            f" {stored.created}. Choose another folder (results), or another name"
            " (study)."
        )
    # The machine that created the study may correct the file of its space. The others must then
    # have the corrected file.
    files = study.user_attrs[SPACE]
    if (
        identify(folder) == FIRST_COORDINATOR
        and files.get("source_sha256", "") != space.source_sha256
    ):
        study.set_user_attr(SPACE, {**files, "source_sha256": space.source_sha256})


def _refuse_incomplete(folder: StudyDir, storage: optuna.storages.RDBStorage) -> None:
    """Check that a study has both a folder and an entry in the storage, or neither."""
    try:
        study_id = storage.get_study_id_from_name(folder.name)
    except KeyError:
        study_id = None
    if folder.config_path.exists() and study_id is None:
        raise StudyError(
            f"Study {folder.name!r} must be in the storage; {hide_password(storage.url)} does not"
            " contain it. Name its storage (storage), or give another name (study)."
        )
    if study_id is not None and not folder.config_path.exists():
        if RECORD not in storage.get_study_user_attrs(study_id) and not storage.get_all_trials(
            study_id, deepcopy=False
        ):
            return  # A process was killed while it created the study.
        raise StudyError(
            f"A study in the storage must have its folder; {folder.name!r} is in"
            f" {hide_password(storage.url)}, but {folder.config_path} is missing. Restore the"
            " folder, or give join for a study of another machine, or another study. To queue the"
            f" best configurations of another program's study, type `{typed('enqueue')}`."
        )


def fetch_study(folder: StudyDir, *, storage_url: str, moved: Mapping[str, Any]) -> None:
    """Create the folder of a study that another machine has created, from the copy in the storage.
    Of a folder that has joined, only the copy of the search space is written again: the machine
    that created the study may have corrected the file. `moved`: this machine's paths of the space
    and of the data.
    """
    is_known = folder.config_path.exists()
    if is_known and identify(folder) == FIRST_COORDINATOR:
        return
    if missing := missing_file(storage_url):
        raise StudyError(
            f"A study to join must be in the storage; the file {missing} does not exist."
        )
    storage = open_storage(storage_url)
    try:
        with storage_errors(storage_url):
            attributes = _files_in_storage(storage, folder.name)
            stored = record_in_storage(attributes[RECORD], folder.name)
            if is_known and read_record(folder).created != stored.created:
                return  # `open_study` refuses a study of another machine.
            own = identify(folder, joins=True)
            write_json(folder.space_path, attributes[SPACE])
            if is_known and has_begun(attributes, own):
                return
            here = replace(
                stored.config,
                space=moved.get("space", stored.config.space),
                data=replace(stored.config.data, **moved.get("data", {})),
            )
            # Keys that a newer version has written stay in the record.
            write_json(folder.config_path, {**attributes[RECORD], "config": unstructure(here)})
    finally:
        storage.engine.dispose()


def _files_in_storage(storage: optuna.storages.RDBStorage, name: str) -> Mapping[str, Any]:
    names = [study.study_name for study in storage.get_all_studies()]
    if name not in names:
        contents = f"it contains {', '.join(sorted(names))}" if names else "it contains none"
        raise StudyError(
            f"A study to join must be in the storage; {name!r} is not in"
            f" {hide_password(storage.url)}, {contents}."
        )
    number = storage.get_study_id_from_name(name)
    attributes: Mapping[str, Any] = storage.get_study_user_attrs(number)
    if RECORD not in attributes:
        raise StudyError(
            f"A study to join must have its settings in the storage; {name!r} has none: another"
            " process is still creating it (wait a moment), or another program did (choose another"
            " study)."
        )
    return attributes


def load_study(folder: StudyDir, *, storage_url: str) -> optuna.Study:
    if missing := missing_file(storage_url):
        raise StudyError(
            f"Study {folder.name!r} must be in {missing}; that file is missing. Give the URL"
            " of the storage that has it (storage)."
        )
    storage = open_storage(storage_url)
    try:
        return optuna.load_study(study_name=folder.name, storage=storage)
    except KeyError:
        raise StudyError(
            f"Study {folder.name!r} must be in the storage; {hide_password(storage_url)} does not"
            " contain it. Name its storage (storage)."
        ) from None
