"""Configurations from outside that a study trains first, or takes as finished trials; and a study's
best configuration for KerasTuner and Optuna.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from tuning.config import StudyConfig, sign
from tuning.confirmation.rounds import Confirmation
from tuning.errors import SpaceError, StorageError, StudyError
from tuning.results import ResultsDir, StudyDir, write_text
from tuning.spaces.foreign_trials import ForeignTrial, by_name
from tuning.spaces.hyperparameters import optuna_names, suggest, to_params
from tuning.spaces.keras_tuner_files import to_config
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.spaces.starting_points import resolve_point
from tuning.study.lock import study_lock
from tuning.study.storage import close_study, hide_password, missing_file, storage_errors
from tuning.study.study import load_study, recorded_config, recorded_space
from tuning.study.summary import Best, best_of, summarize
from tuning.study.trials import values_of

IMPORTED = "imported"  # attribute of a trial: where its configuration comes from


@dataclass(frozen=True)
class WarmStart:
    """What was added to a study: the number of trials, and a sentence for each one that was not,
    and for names that the space does not have.
    """

    n_added: int
    left_out: list[str]


@dataclass(frozen=True)
class Target:
    """The study that takes configurations."""

    study: optuna.Study
    space: SearchSpace
    config: StudyConfig


@contextlib.contextmanager
def opened(results: ResultsDir, folder: StudyDir, *, storage_url: str) -> Iterator[Target]:
    """Open a study to add trials to it, while no search of this machine works on it.

    Raises:
        StudyError: another process has the study, or it does not exist.
        StorageError: the storage can't be written.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    with study_lock(folder), storage_errors(storage_url):
        study = load_study(results, folder, storage_url=storage_url)
        try:
            yield Target(study, space, config)
        finally:
            close_study(study)


def read_study(
    url: str, name: str, config: StudyConfig, space: SearchSpace, *, same_objectives: bool
) -> list[ForeignTrial]:
    """Return the completed trials of another Optuna study, best first.

    `same_objectives`: its objectives must have the names of this study's.

    Raises:
        StudyError: the storage does not contain the study, the study has other directions or
            objectives, or no trial is complete.
        StorageError: the storage can't be read.
    """
    study = _open(url, name)
    try:
        with storage_errors(url):
            _require_objectives(study, config, same_names=same_objectives)
            trials = study.get_trials(deepcopy=False)
    finally:
        close_study(study)
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
        StudyError: its directions differ, or its objectives' names if `same_names`.
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
            f"--as-finished must have a study with the objective {' and '.join(own)};"
            f" {study.study_name!r} has {' and '.join(objectives) or 'objectives without names'}."
            " Leave --as-finished out to train its configurations here."
        )


def _open(url: str, name: str) -> optuna.Study:
    missing = missing_file(url)
    if missing:
        raise StudyError(f"--from must be the URL of a storage; the file {missing} does not exist.")
    place = hide_password(url)
    try:
        names = sorted(optuna.get_all_study_names(url))
        if name not in names:
            raise StudyError(
                f"--name must be a study in {place}; it contains {', '.join(names) or 'none'}, and"
                f" not {name!r}."
            )
        return optuna.load_study(study_name=name, storage=url)
    except (
        *(optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError),
        *(ValueError, ImportError, RuntimeError),
    ) as error:
        raise StorageError(
            f"--from must be the URL of an Optuna storage; {place} gave:"
            f" {str(error).splitlines()[0]}"
        ) from error


def _epoch_of(trial: FrozenTrial) -> int | None:
    epoch = trial.user_attrs.get("best_epoch")
    return epoch if isinstance(epoch, int) and epoch > 0 else None


def add(
    target: Target, trials: Sequence[ForeignTrial], *, source: str, as_finished: bool = False
) -> WarmStart:
    """Queue configurations, which the study trains before the sampler is asked; or add trials with
    their scores as finished trials.

    A queued configuration takes the defaults of the hyperparameters that it does not have. A
    finished trial must have a value for each searched hyperparameter of the space, and no others:
    its score would belong to another model.

    Raises:
        StudyError: finished trials have fewer scores than the study has objectives.
    """
    study, config = target.study, target.config
    if as_finished and any(len(trial.scores) != 1 + len(config.costs) for trial in trials):
        raise StudyError(
            "Finished trials must have a score for each objective of the study,"
            f" {', '.join([config.metric, *config.costs])}; those of {source} have another number"
            " of scores. Leave --as-finished out to train their configurations here."
        )
    known = [_params_of(trial) for trial in study.get_trials(deepcopy=False)]
    n_added, left_out, unknown = 0, [], dict[str, None]()
    for trial in trials:
        try:
            params = _new_params(trial, target.space, is_whole=as_finished)
            if params in known:
                raise SpaceError("the study has its configuration already.")
        except SpaceError as error:
            left_out.append(f"{trial.name} is left out: {error}")
            continue
        unknown |= dict.fromkeys(_unknown(trial, target.space))
        if as_finished:
            study.add_trial(_finished(trial, params, target, source=source))
        else:
            study.enqueue_trial(params, user_attrs={IMPORTED: f"{trial.name} of {source}"})
        known.append(params)
        n_added += 1
    if unknown:
        left_out.append(f"The space does not have {', '.join(unknown)}: these values are not used.")
    return WarmStart(n_added, left_out)


def _params_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the parameters of a trial, or those with which it is queued."""
    return trial.params or trial.system_attrs.get("fixed_params", {})


def _unknown(trial: ForeignTrial, space: SearchSpace) -> list[str]:
    names = by_name(space.hyperparameters)
    return [name for name in trial.values if name not in names]


def _new_params(trial: ForeignTrial, space: SearchSpace, *, is_whole: bool) -> Values:
    """Return the Optuna parameters of a configuration. `is_whole`: it must have all values.

    Raises:
        SpaceError: no name is known, a value is not in its range, or the configuration is not
            whole.
    """
    unknown = _unknown(trial, space)
    if len(unknown) == len(trial.values):
        raise SpaceError("it has no value for a hyperparameter of the space.")
    if unknown and is_whole:
        raise SpaceError(f"the space does not have {', '.join(unknown)}.")
    values = {name: _rounded(v) for name, v in trial.values.items() if name not in unknown}
    label = f"{trial.name[0].upper()}{trial.name[1:]}"
    resolved = resolve_point(values, space.hyperparameters, name=label)
    missing = [item.name for item in space.searched if item.name in resolved.keys() - values.keys()]
    if missing and is_whole:
        raise SpaceError(f"it has no value for {', '.join(missing)}.")
    return to_params(resolved, space.hyperparameters)


def _rounded(value: Any) -> Any:
    """Return a number without the error of a sum of steps: 0.3 for 0.30000000000000004."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _finished(trial: ForeignTrial, params: Values, target: Target, *, source: str) -> FrozenTrial:
    """Return a completed trial. It took no time here; its best epoch is the last one of the study's
    if it is not known.
    """
    config, space = target.config, target.space
    drawn = FixedTrial(params)
    suggest(drawn, space.hyperparameters)
    epoch = min(trial.best_epoch or config.train.epochs, config.train.epochs)
    return create_trial(
        state=TrialState.COMPLETE,
        values=list(trial.scores),
        params=params,
        distributions=drawn.distributions,
        user_attrs={
            IMPORTED: f"{trial.name} of {source}",
            config.metric: trial.scores[0],
            "best_epoch": epoch,
            "n_epochs": epoch,
            "seconds": {},
        },
    )


def write_best_values(
    results: ResultsDir, folder: StudyDir, *, storage_url: str, output: Path
) -> tuple[Best, list[Path]]:
    """Write the hyperparameters of a study's best trial, the confirmed one if there is one, as the
    config of a `keras_tuner.HyperParameters` and as Optuna's parameters.

    Raises:
        StudyError: no trial is complete.
        StorageError: the files can't be written.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    study = load_study(results, folder, storage_url=storage_url)
    summary = summarize(study, metric=config.metric)
    close_study(study)
    summary.require_complete("an export of its hyperparameters")
    best = best_of(summary, Confirmation.load(folder))
    assert best is not None  # for mypy: a trial is complete
    documents = {
        "keras_tuner": to_config(space.hyperparameters, values_of(best.trial, space)),
        "optuna": best.trial.params,
    }
    paths = []
    for program, document in documents.items():
        paths.append(output / f"{folder.name}.{program}.json")
        write_text(paths[-1], json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return best, paths
