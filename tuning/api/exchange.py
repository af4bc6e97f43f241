"""Imports of configurations, also of other Optuna studies, which a study trains first or adds as
finished trials; and a study's best configuration for KerasTuner and Optuna.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from tuning.atomic_io import write_text
from tuning.config import StudyConfig
from tuning.errors import ArgumentError, SpaceError, StorageError, StudyError
from tuning.evaluation.scores import ACCURACY
from tuning.fidelity import epochs_at, part_at
from tuning.metrics import sign
from tuning.spaces.foreign_trials import (
    ForeignTrial,
    by_name,
    read_project,
    read_records,
    read_rows,
    to_config,
)
from tuning.spaces.hyperparameters import from_params, optuna_names, suggest, to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.spaces.starting_points import resolve_point
from tuning.study.handle import StudyHandle
from tuning.study.lock import study_lock
from tuning.study.optuna_internals import fixed_params_of
from tuning.study.storage import close_study, hide_password, missing_file, storage_errors
from tuning.study.summary import summarize
from tuning.study.trials import attributes_of, values_of
from tuning.targets.kinds import KINDS

# The states of the trials whose configurations a study has. A failed trial has no result, so its
# configuration may be queued again.
KNOWN_STATES = tuple(state for state in TrialState if state != TrialState.FAIL)


@dataclass(frozen=True)
class WarmStart:
    """The trials that were added to a study.

    Attributes:
        n_added: number of trials that were added.
        left_out: a sentence for each trial that was not added, and a sentence with the names that
            the space does not have.
        n_trials: number of trials of the study that are finished, running or queued.
        is_finished: whether the trials were added with their scores, and not queued.
    """

    n_added: int
    left_out: list[str]
    n_trials: int
    is_finished: bool = False


def import_kerastuner(study: StudyHandle, project: Path, *, as_finished: bool = False) -> WarmStart:
    metric, kind = study.config.metric, study.config.data.kind
    items = study.space.hyperparameters
    is_binary = next((item.default for item in items if item.name == "n_classes"), 2) == 2
    is_exclusive, ours, theirs = KINDS[kind].is_exclusive, "", ""
    if metric == ACCURACY and not is_exclusive:
        ours, theirs = "counts texts of which all labels are right", "counts labels"
    elif kind == "order" and metric in (ACCURACY, "val_mae", "val_rmse"):
        ours, theirs = "is of median classes", "is of the most probable classes, or outputs"
    elif metric == "val_auc" and not (is_binary and is_exclusive):
        ours, theirs = "is the mean over the classes or labels", "is of all outputs together"
    if ours:
        raise StudyError(
            f"The {metric} of these labels {ours}; KerasTuner's {theirs}. Import the project into a"
            " study of another metric."
        )
    trials, left_out = read_project(project, metric=metric, sign=sign(metric), is_binary=is_binary)
    source = f"the KerasTuner project {project.absolute().name}"
    return add(study, trials, source=source, as_finished=as_finished, left_out=left_out)


def import_optuna(
    study: StudyHandle,
    source: optuna.Study | str,
    name: str | None = None,
    *,
    as_finished: bool = False,
) -> WarmStart:
    if isinstance(source, str) == (name is None) or not isinstance(source, str | optuna.Study):
        kind = "a URL" if isinstance(source, str) else f"{type(source).__name__} {source!r}"
        raise ArgumentError(
            "import_optuna must get an optuna.Study, or the URL of a storage and the name of a"
            f" study; received {kind} {'without' if name is None else 'with'} a name."
        )
    ours = study.config, study.space
    if isinstance(source, str):
        trials = read_study(source, name or "", *ours, same_objectives=as_finished)
    else:
        name = source.study_name
        trials = completed_trials(source, *ours, same_objectives=as_finished)
    return add(study, trials, source=f"the Optuna study {name}", as_finished=as_finished)


def read_study(
    url: str, name: str, config: StudyConfig, space: SearchSpace, *, same_objectives: bool
) -> list[ForeignTrial]:
    study = _open(url, name)
    try:
        with storage_errors(url):
            return completed_trials(study, config, space, same_objectives=same_objectives)
    finally:
        close_study(study)


def completed_trials(
    study: optuna.Study, config: StudyConfig, space: SearchSpace, *, same_objectives: bool
) -> list[ForeignTrial]:
    """Return the completed trials of another Optuna study, best first. With `same_objectives`, the
    objectives of both studies must have the same names.
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
            best_epoch=_best_epoch_of(trial),
        )
        for trial in sorted(complete, key=lambda t: (-sign(config.metric) * t.values[0], t.number))
    ]


def _require_objectives(study: optuna.Study, config: StudyConfig, *, same_names: bool) -> None:
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
    # Optuna raises a ValueError for an address of Redis, an ImportError for a missing driver, and a
    # RuntimeError for a schema of another version.
    except (
        *(optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError),
        *(ValueError, ImportError, RuntimeError),
    ) as error:
        raise StorageError(
            f"source must be the URL of an Optuna storage; {place} gave:"
            f" {str(error).splitlines()[0]}"
        ) from error


def _best_epoch_of(trial: FrozenTrial) -> float | None:
    attributes = attributes_of(trial)
    epoch: object = attributes.get("best_epoch")
    if not isinstance(epoch, int | float) or not 0 <= epoch < math.inf:
        return None
    # Another program may count its epochs from 0.
    return epoch if epoch or "n_epochs" in attributes else None


def enqueue(study: StudyHandle, configurations: Any) -> WarmStart:
    items = study.space.hyperparameters
    if isinstance(configurations, str | Path):
        path = Path(configurations).expanduser()
        trials, left_out = read_rows(path, items)
        return add(study, trials, source=path.name, left_out=left_out)
    trials, left_out = read_records(_records_of(configurations), items)
    return add(study, trials, source="a list", left_out=left_out)


def _records_of(configurations: Any) -> list[Mapping[str, Any]]:
    """Return configurations as dicts. Empty cells of a data frame become None."""
    import pandas as pd

    if isinstance(configurations, pd.Series):  # a row of a data frame
        configurations = configurations.to_frame().T
    if isinstance(configurations, pd.DataFrame):
        cells = configurations.astype(object).where(configurations.notna(), None)
        return [
            {str(name): value for name, value in row.items()} for row in cells.to_dict("records")
        ]
    is_list = isinstance(configurations, Iterable) and not isinstance(configurations, Mapping)
    records = [*configurations] if is_list else [configurations]
    if wrong := [record for record in records if not isinstance(record, Mapping)]:
        raise ArgumentError(
            "configurations must be a CSV file, a data frame or dicts; received a"
            f" {type(wrong[0]).__name__}. Give the values by name, such as"
            " study.best.hyperparameters."
        )
    return records


def add(
    study: StudyHandle,
    trials: Sequence[ForeignTrial],
    *,
    source: str,
    as_finished: bool = False,
    left_out: Sequence[str] = (),
) -> WarmStart:
    """Queue configurations, which the study trains before it asks the sampler; or add trials with
    their scores as finished trials. `left_out` are sentences about trials that were not read.
    """
    config, space = study.config, study.space
    if as_finished and any(len(trial.scores) != 1 + len(config.costs) for trial in trials):
        raise StudyError(
            "Finished trials must have a score for each objective of the study,"
            f" {', '.join([config.metric, *config.costs])}; those of {source} have another number"
            " of scores. Leave as_finished out to train their configurations here."
        )
    # A dictionary keeps the order of the names.
    n_added, sentences, unknown = 0, [*left_out], dict[str, None]()
    # The lock keeps searches of this machine from the study.
    with study_lock(study.folder), storage_errors(study.storage_url), study.opened() as opened:
        trials_here = opened.get_trials(deepcopy=False, states=KNOWN_STATES)
        # A queued trial has fixed parameters only.
        known = [trial.params or fixed_params_of(trial) for trial in trials_here]
        for trial in trials:
            try:
                params = _new_params(trial, space, needs_all_values=as_finished)
                if params in known:
                    raise SpaceError("the study has its configuration already.")
            except SpaceError as error:
                sentences.append(f"{trial.name} is left out: {error}")
                continue
            unknown |= dict.fromkeys(_unknown(trial, space))
            if as_finished:
                opened.add_trial(_finished(trial, params, study, source=source))
            else:
                opened.enqueue_trial(params, user_attrs={"imported": f"{trial.name} of {source}"})
            known.append(params)
            n_added += 1
        summary = summarize(opened, metric=config.metric)
    if unknown:
        names = ", ".join(unknown)
        sentences.insert(0, f"The space does not have {names}: these values are not used.")
    n_trials = summary.n_taken + summary.counts["waiting"]
    return WarmStart(n_added, sentences, n_trials, as_finished)


def _unknown(trial: ForeignTrial, space: SearchSpace) -> list[str]:
    names = by_name(space.hyperparameters)
    return [name for name in trial.values if name not in names]


def _new_params(trial: ForeignTrial, space: SearchSpace, *, needs_all_values: bool) -> Values:
    """Return the Optuna parameters of a configuration, with defaults for missing values. With
    `needs_all_values`, the configuration must have all values and no others.
    """
    unknown = _unknown(trial, space)
    if len(unknown) == len(trial.values):
        names = ", ".join(item.name for item in space.searched)
        given = f" ({names}); it has {', '.join(unknown)}" if unknown else ""
        raise SpaceError(f"it has no value for a hyperparameter of the space{given}.")
    # The score of a finished trial with other values would belong to another model.
    if unknown and needs_all_values:
        raise SpaceError(f"the space does not have {', '.join(unknown)}.")
    values = {name: _rounded(v) for name, v in trial.values.items() if name not in unknown}
    label = f"{trial.name[0].upper()}{trial.name[1:]}"
    resolved = resolve_point(values, space.hyperparameters, name=label)
    missing = [item.name for item in space.searched if item.name in resolved.keys() - values.keys()]
    if missing and needs_all_values:
        raise SpaceError(f"it has no value for {', '.join(missing)}.")
    return to_params(resolved, space.hyperparameters)


def _rounded(value: Any) -> Any:
    # Sums of steps have rounding errors: 0.30000000000000004 is 0.3 in the space.
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _finished(
    trial: ForeignTrial, params: Values, study: StudyHandle, *, source: str
) -> FrozenTrial:
    """Return a completed trial, whose training took no time here. If its best epoch is not known,
    the best epoch is the last epoch of the study's trials.
    """
    config, space = study.config, study.space
    drawn = FixedTrial(params)
    suggest(drawn, space.hyperparameters)
    values, parts = from_params(params, space.hyperparameters), config.train.parts_per_epoch
    epochs = min(config.train.epochs, int(values.get("max_epochs", config.train.epochs)))
    best = epochs if trial.best_epoch is None else min(trial.best_epoch, epochs)
    # Part 0 is a model that `adapt` has fitted, before its training. A small part of an epoch must
    # not be rounded to 0.
    part, n_folds = max(part_at(best, parts), min(math.ceil(best), 1)), config.train.n_folds
    return create_trial(
        state=TrialState.COMPLETE,
        values=list(trial.scores),
        params=params,
        distributions=drawn.distributions,
        user_attrs={
            "imported": f"{trial.name} of {source}",
            config.metric: trial.scores[0],
            "best_epoch": epochs_at(part, parts),
            "n_epochs": epochs_at(part, parts) if n_folds == 1 else n_folds,
            **({} if n_folds == 1 else {"n_folds": n_folds}),
            "seconds": {},
        },
    )


def write_best_values(study: StudyHandle, *, output: Path) -> list[Path]:
    """Write the hyperparameters of a study's best trial as the config of a
    `keras_tuner.HyperParameters` and as Optuna's parameters.
    """
    study.summary.require_complete("an export of its hyperparameters")
    best, space = study.best, study.space
    assert best is not None  # for mypy: a trial is complete
    documents = {
        "keras_tuner": to_config(space.hyperparameters, values_of(best.trial, space)),
        "optuna": best.trial.params,
    }
    paths = []
    for program, document in documents.items():
        paths.append(output / f"{study.name}.{program}.json")
        write_text(paths[-1], json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return paths
