"""The record of a study, `study.json`: its settings and its origin, which never change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tuning import documents
from tuning.commands import typed
from tuning.config import StudyConfig, differences
from tuning.errors import StudyError
from tuning.results import StudyDir

if TYPE_CHECKING:
    import optuna

REMEDY = "Put the file back as it was, or give the study another name (study)."


@dataclass(frozen=True, kw_only=True)
class StudyIdentity:
    config: StudyConfig
    data_fingerprint: str
    space_fingerprint: str


@dataclass(frozen=True, kw_only=True)
class StudyRecord(StudyIdentity):
    """A study with the time of its creation, and the versions of the packages and of this program
    that created it.
    """

    created: str
    versions: dict[str, str]
    git_commit: str | None = None


def require_directions(study: optuna.Study, directions: Sequence[str]) -> None:
    """Check that a study in the storage has the directions of its configuration: Optuna ignores the
    directions of a call that opens an existing study.
    """
    stored = [direction.name.lower() for direction in study.directions]
    if stored != [*directions]:
        raise StudyError(
            f"Study {study.study_name!r} must {' and '.join(directions)}; another program has"
            f" created it to {' and '.join(stored)}. Delete it, or choose another name"
            " (study)."
        )


def read_record(folder: StudyDir) -> StudyRecord:
    if not folder.config_path.exists():
        raise StudyError(
            f"Study {folder.name!r} must have a {folder.config_path.name}; its folder has none."
            f" Type `{typed('tune')}` first."
        )
    return documents.read(folder.config_path, StudyRecord, error=StudyError, remedy=REMEDY)


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
    lines = differences(old, new)
    if lines:
        is_other_file = any(line.startswith("config.space:") for line in lines)
        is_part = any(line.startswith("config.train.parts_per_epoch:") for line in lines)
        raise StudyError(
            f"Study {folder.name!r} must be continued with the settings it was created with; "
            + "; ".join(lines)
            + (" (parts_per_epoch follows from min_texts)" if is_part else "")
            + (". A class that was changed is another search space" if is_other_file else "")
            + ". Use the same values, or give the study another name (study)."
        )
