"""Configurations that a study trains before it asks the sampler: rows of a CSV file, dicts, or the
best configurations of another study.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import sqlalchemy
from optuna.trial import TrialState

from tuning.errors import ArgumentError, SpaceError, StorageError, StudyError
from tuning.metrics import sign
from tuning.spaces.hyperparameters import optuna_names, to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter, Values
from tuning.spaces.starting_points import resolve_point
from tuning.study.handle import StudyHandle
from tuning.study.lock import study_lock
from tuning.study.optuna_internals import fixed_params_of
from tuning.study.storage import close_study, hide_password, missing_file, storage_errors
from tuning.study.summary import summarize

# The states of the trials whose configurations a study has. A failed trial has no result, so its
# configuration may be queued again.
KNOWN_STATES = tuple(state for state in TrialState if state != TrialState.FAIL)
N_BEST = 10  # number of configurations that are queued of another study


@dataclass(frozen=True)
class Enqueued:
    """The configurations that were queued in a study.

    Attributes:
        n_added: number of configurations that were queued.
        left_out: a sentence for each configuration that was not queued, and a sentence with the
            names that the space does not have.
        n_trials: number of trials of the study that are finished, running or queued.
    """

    n_added: int
    left_out: list[str]
    n_trials: int


@dataclass(frozen=True)
class Configuration:
    """The values of a row, or of a trial of another study. They are not checked."""

    name: str
    values: Mapping[str, Any]


def enqueue(
    study: StudyHandle,
    configurations: Any = None,
    *,
    source: str | None = None,
    name: str | None = None,
    n_best: int = N_BEST,
) -> Enqueued:
    """Queue configurations, or the `n_best` best of another study: an `optuna.Study`, or the study
    `name` of the storage `source`, or without a name the study `source` beside this one.
    """
    if (configurations is None) == (source is None):
        raise ArgumentError(
            "enqueue must get either configurations or source, another study; received"
            f" {'neither' if source is None else 'both'}."
        )
    items = study.space.hyperparameters
    if isinstance(configurations, optuna.Study):
        return _add_best(study, configurations, n_best)
    if source is not None and name is None:
        other = StudyHandle.of(study.results, study.results.existing(source).name)
        with other.opened() as opened:
            return _add_best(study, opened, n_best)
    if source is not None and name is not None:
        opened = _open(source, name)
        try:
            with storage_errors(source):
                return _add_best(study, opened, n_best)
        finally:
            close_study(opened)
    if isinstance(configurations, str | Path):
        path = Path(configurations).expanduser()
        of_rows, left_out = _configurations(_read_csv(path), items)
        return _add(study, of_rows, source=path.name, left_out=left_out)
    of_rows, left_out = _configurations(_records_of(configurations), items)
    return _add(study, of_rows, source="a list", left_out=left_out)


def _add_best(study: StudyHandle, other: optuna.Study, n_best: int) -> Enqueued:
    best = best_configurations(other, study, n_best=n_best)
    return _add(study, best, source=f"the study {other.study_name}")


def best_configurations(
    other: optuna.Study, study: StudyHandle, *, n_best: int
) -> list[Configuration]:
    """Return the configurations of the best complete trials of another study, the best first."""
    config, space = study.config, study.space
    here, there = config.directions, [direction.name.lower() for direction in other.directions]
    if there != here:
        raise StudyError(
            f"The other study must have the directions of this one, {' and '.join(here)};"
            f" {other.study_name!r} has {' and '.join(there)}."
        )
    complete = other.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not complete:
        raise StudyError(
            f"The other study must have a completed trial; {other.study_name!r} has none."
        )
    complete.sort(key=lambda trial: (-sign(config.metric) * trial.values[0], trial.number))
    names = dict(zip(optuna_names(space.hyperparameters), space.hyperparameters, strict=True))
    return [
        Configuration(
            f"trial {trial.number}",
            {
                names[key].name if key in names else key: value
                for key, value in trial.params.items()
            },
        )
        for trial in complete[:n_best]
    ]


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


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        with warnings.catch_warnings():
            # pandas warns of a row with more cells than the header, and drops the cells.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            rows = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        raise StudyError(
            "configurations must be a CSV file with a line of names, and a cell for each name in"
            f" each row; reading {path} gave: {str(error).strip()}."
        ) from error
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _records_of(configurations: Any) -> list[Mapping[str, Any]]:
    """Return configurations as dicts. Empty cells of a data frame become None."""
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
            "configurations must be a CSV file, a data frame, dicts or a study; received a"
            f" {type(wrong[0]).__name__}. Give the values by name, such as"
            " study.best.hyperparameters."
        )
    return records


def _configurations(
    rows: Sequence[Mapping[str, Any]], items: Sequence[Hyperparameter]
) -> tuple[list[Configuration], list[str]]:
    """Return rows as configurations without empty values, and a sentence about other names."""
    known, names = _by_name(items), [*dict.fromkeys(name for row in rows for name in row)]
    if not set(names) & set(known):
        raise StudyError(
            "Configurations must name a hyperparameter; they have"
            f" {', '.join(map(str, names)) or 'no values'}, and the space has {', '.join(known)}."
        )
    configurations = [
        Configuration(
            f"row {number}",
            {
                name: _value(value, known[name])
                for name, value in row.items()
                if name in known and value is not None and str(value).strip()
            },
        )
        for number, row in enumerate(rows, start=1)
    ]
    other = [str(name) for name in names if name not in known]
    sentence = f"Columns that are not hyperparameters are left out: {', '.join(other)}."
    return configurations, [sentence] if other else []


def _by_name(hyperparameters: Sequence[Hyperparameter]) -> dict[str, list[Hyperparameter]]:
    """Return the hyperparameters of each name: several of a name have different conditions."""
    items: dict[str, list[Hyperparameter]] = {}
    for item in hyperparameters:
        items.setdefault(item.name, []).append(item)
    return items


def _value(value: Any, items: Sequence[Hyperparameter]) -> Any:
    if isinstance(value, str):
        return _cell(value, items)
    value = value.item() if isinstance(value, np.generic) else value
    # pandas stores the integers of a column with an empty cell as floats.
    is_integer = isinstance(value, float) and value.is_integer()
    return int(value) if is_integer and all(type(item.default) is int for item in items) else value


def _cell(text: str, items: Sequence[Hyperparameter]) -> Any:
    """Return the text of a cell as a value; a text that is not a value stays a text."""
    text = text.strip()
    for item in items:
        for choice in item.choices or (item.default,):
            if str(choice).lower() == text.lower() and isinstance(choice, bool | str):
                return choice
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _add(
    study: StudyHandle,
    configurations: Sequence[Configuration],
    *,
    source: str,
    left_out: Sequence[str] = (),
) -> Enqueued:
    space, n_added = study.space, 0
    # A dictionary keeps the order of the names.
    sentences, unknown = [*left_out], dict[str, None]()
    # The lock keeps searches of this machine from the study.
    with study_lock(study.folder), storage_errors(study.storage_url), study.opened() as opened:
        trials_here = opened.get_trials(deepcopy=False, states=KNOWN_STATES)
        # A queued trial has fixed parameters only.
        known = [trial.params or fixed_params_of(trial) for trial in trials_here]
        for configuration in configurations:
            try:
                params = _params_of(configuration, space)
                if params in known:
                    raise SpaceError("the study has its configuration already.")
            except SpaceError as error:
                sentences.append(f"{configuration.name} is left out: {error}")
                continue
            unknown |= dict.fromkeys(_unknown(configuration, space))
            origin = f"{configuration.name} of {source}"
            opened.enqueue_trial(params, user_attrs={"imported": origin})
            known.append(params)
            n_added += 1
        summary = summarize(opened, metric=study.config.metric)
    if unknown:
        names = ", ".join(unknown)
        sentences.insert(0, f"The space does not have {names}: these values are not used.")
    return Enqueued(n_added, sentences, summary.n_taken + summary.counts["waiting"])


def _unknown(configuration: Configuration, space: SearchSpace) -> list[str]:
    names = _by_name(space.hyperparameters)
    return [name for name in configuration.values if name not in names]


def _params_of(configuration: Configuration, space: SearchSpace) -> Values:
    """Return the Optuna parameters of a configuration, with defaults for missing values."""
    values, unknown = configuration.values, _unknown(configuration, space)
    if len(unknown) == len(values):
        names = ", ".join(item.name for item in space.searched)
        given = f" ({names}); it has {', '.join(unknown)}" if unknown else ""
        raise SpaceError(f"it has no value for a hyperparameter of the space{given}.")
    known = {name: _rounded(value) for name, value in values.items() if name not in unknown}
    label = f"{configuration.name[0].upper()}{configuration.name[1:]}"
    resolved = resolve_point(known, space.hyperparameters, name=label)
    return to_params(resolved, space.hyperparameters)


def _rounded(value: Any) -> Any:
    # Sums of steps have rounding errors: 0.30000000000000004 is 0.3 in the space.
    return float(f"{value:.12g}") if isinstance(value, float) else value
