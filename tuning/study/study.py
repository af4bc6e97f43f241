"""The record of a study, its creation, and the checks of a call that resumes the study.

The trials are in Optuna's storage alone. `study.json`, the record, and `search_space.json` in the
study's folder are written once.
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
from tuning.atomic_io import write_json
from tuning.commands import typed
from tuning.config import StudyConfig, differences
from tuning.data.folders import checksum_of_encoder
from tuning.documents import OMIT_DEFAULT, unstructure
from tuning.errors import StudyError
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.study.samplers import make_pruner
from tuning.study.storage import (
    hide_password,
    missing_file,
    open_storage,
)

REMEDY = "Put the file back as it was, or give the study another name (study)."
CREATED = "created"  # attribute of a study in the storage: `StudyRecord.created`
# Name of the file of a data frame, which contains a hash of the content (`tuning.api.inputs`).
WRITTEN_FILE = re.compile(r"\w+-[0-9a-f]+\.parquet")
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
    return replace(record, config=replace(config, data=data))


def _present_place(place: str, folder: StudyDir) -> str:
    """Return the path of the file of a data frame, which was written into the folder of a study or
    a comparison, and may have moved since with the folder of all studies; any other place stays as
    it is.
    """
    path = Path(place)
    here = (folder.path.parent / path.parent.name / path.name).absolute()
    return str(here) if WRITTEN_FILE.fullmatch(path.name) and here.is_file() else place


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
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """`sampler`, `pruner`: objects that a user has passed, in place of the words of `config`."""
    folder = results.study(config.study)
    now = StudyIdentity(
        config=config, data_fingerprint=data_fingerprint, space_fingerprint=space.fingerprint
    )
    if folder.config_path.exists():
        refuse_differences(folder, now)
    storage = open_storage(storage_url)
    with contextlib.ExitStack() as stack:
        stack.callback(storage.engine.dispose)  # a refused study leaves no connection open
        _refuse_incomplete(folder, storage)
        study = optuna.create_study(
            storage=storage,
            study_name=config.study,
            directions=config.directions,
            load_if_exists=True,
            sampler=sampler,
            pruner=make_pruner(pruner or config.pruner, config.train),
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
        _describe(study, read_record(folder), space=space.name, storage_url=storage_url)
    return study


def _describe(study: optuna.Study, record: StudyRecord, *, space: str, storage_url: str) -> None:
    """Write into the storage which folder the study belongs to, and what other programs show."""
    created = study.user_attrs.get(CREATED)
    if created is None:
        study.set_user_attr("space", f"{space} {record.space_fingerprint}")
        study.set_user_attr("data", f"{record.config.data.data} {record.data_fingerprint}")
        study.set_user_attr(CREATED, record.created)
    elif created != record.created:
        raise StudyError(
            f"A folder must belong to the study in the storage; that of {study.study_name!r} was"
            f" created {record.created}, the study in {hide_password(storage_url)} {created}."
            " Choose another folder (results), or another name (study)."
        )


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
        if CREATED not in storage.get_study_user_attrs(study_id) and not storage.get_all_trials(
            study_id, deepcopy=False
        ):
            return  # A process was killed while it created the study.
        raise StudyError(
            f"A study in the storage must have its folder; {folder.name!r} is in"
            f" {hide_password(storage.url)}, but {folder.config_path} is missing. Restore the"
            " folder, or give another name (study). To queue the best configurations of another"
            f" program's study, type `{typed('enqueue')}`."
        )


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
