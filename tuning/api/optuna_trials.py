"""The completed trials of another Optuna study, as configurations for a study of this program."""

from __future__ import annotations

import math

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from tuning.config import StudyConfig
from tuning.errors import StorageError, StudyError
from tuning.metrics import sign
from tuning.spaces.foreign_trials import ForeignTrial
from tuning.spaces.hyperparameters import optuna_names
from tuning.spaces.loading import SearchSpace
from tuning.study.storage import close_study, hide_password, missing_file, storage_errors
from tuning.study.trials import attributes_of


def read_study(
    url: str, name: str, config: StudyConfig, space: SearchSpace, *, same_objectives: bool
) -> list[ForeignTrial]:
    """Return the completed trials of another Optuna study in a storage, best first.

    Raises:
        StudyError: the storage does not contain the study; or as `completed_trials`.
        StorageError: the storage can't be read.
    """
    study = _open(url, name)
    try:
        with storage_errors(url):
            return completed_trials(study, config, space, same_objectives=same_objectives)
    finally:
        close_study(study)


def completed_trials(
    study: optuna.Study, config: StudyConfig, space: SearchSpace, *, same_objectives: bool
) -> list[ForeignTrial]:
    """Return the completed trials of another Optuna study, best first.

    With `same_objectives`, the objectives of both studies must have the same names.

    Raises:
        StudyError: the study has other directions or objectives, or no trial is complete.
    """
    _require_objectives(study, config, same_names=same_objectives)
    name, trials = study.study_name, study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise StudyError(f"A study to import must have a completed trial; {name!r} has none.")
    names = dict(zip(optuna_names(space.hyperparameters), space.hyperparameters, strict=True))
    return [
        ForeignTrial(
            name=f"trial {trial.number}",
            values={
                names[key].name if key in names else key: value
                for key, value in trial.params.items()
            },
            scores=tuple(trial.values),
            best_epoch=_epoch_of(trial),
        )
        for trial in sorted(complete, key=lambda t: (-sign(config.metric) * t.values[0], t.number))
    ]


def _require_objectives(study: optuna.Study, config: StudyConfig, *, same_names: bool) -> None:
    """Refuse a study with other objectives.

    Raises:
        StudyError: the directions differ, or with `same_names` the names of the objectives.
    """
    here, there = config.directions, [direction.name.lower() for direction in study.directions]
    if there != here:
        raise StudyError(
            f"A study to import must have the directions of this one, {' and '.join(here)};"
            f" {study.study_name!r} has {' and '.join(there)}."
        )
    objectives, own = study.metric_names or [], [config.metric, *config.costs]
    if same_names and objectives != own:
        raise StudyError(
            f"as_finished must have a study with the objective {' and '.join(own)};"
            f" {study.study_name!r} has {' and '.join(objectives) or 'objectives without names'}."
            " Leave as_finished out to train its configurations here."
        )


def _open(url: str, name: str) -> optuna.Study:
    missing = missing_file(url)
    if missing:
        raise StudyError(f"source must be the URL of a storage; the file {missing} does not exist.")
    place = hide_password(url)
    try:
        names = sorted(optuna.get_all_study_names(url))
        if name not in names:
            raise StudyError(
                f"name must be a study in {place}; it contains {', '.join(names) or 'none'}, and"
                f" not {name!r}."
            )
        return optuna.load_study(study_name=name, storage=url)
    except (
        *(optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError),
        *(ValueError, ImportError, RuntimeError),
    ) as error:
        raise StorageError(
            f"source must be the URL of an Optuna storage; {place} gave:"
            f" {str(error).splitlines()[0]}"
        ) from error


def _epoch_of(trial: FrozenTrial) -> float | None:
    epoch: object = attributes_of(trial).get("best_epoch")
    return epoch if isinstance(epoch, int | float) and 0 < epoch < math.inf else None
