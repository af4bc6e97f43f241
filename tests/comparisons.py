"""Comparisons of search spaces with values in the place of trainings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import create_trial

from tests.confirmations import with_repeats
from tests.stored_documents import RECORD
from tuning.atomic_io import write_json
from tuning.documents import unstructure, write
from tuning.evaluation.statistics import mean_interval
from tuning.report.spaces import COMPARISON, SpaceResult
from tuning.results import ResultsDir, StudyDir
from tuning.study.storage import close_study, open_storage

SMALL = [0.001, -0.001, 0.0, 0.0, 0.0]


def confirmed(
    name: str, mean: float, changes: Sequence[float] = SMALL, **facts: Any
) -> SpaceResult:
    """A confirmed space, whose repeats on the seeds 1, 2, … differ from the mean by `changes`."""
    values = [mean + change for change in changes]
    return SpaceResult(
        space=name,
        study=f"compare-reviews-{name}",
        metric="val_accuracy",
        mean=mean_interval(values),
        repeats={(seed, 0): value for seed, value in enumerate(values, start=1)},
        **{"n_trials": 31, "n_parameters": 1_000, "train_seconds": 12.5, **facts},
    )


def unconfirmed(name: str) -> SpaceResult:
    return SpaceResult(space=name, study=f"compare-reviews-{name}", metric="val_accuracy")


def store_study(
    results: ResultsDir,
    comparison: str,
    space: str,
    values: Sequence[float] = (),
    *,
    data_fingerprint: str = RECORD.data_fingerprint,
    n_parameters: int = 100,
    **config: Any,
) -> StudyDir:
    """Write the study of a search space with one trial, number 0, confirmed by `values`."""
    folder = results.study(f"{comparison}-{space}")
    folder.path.mkdir(parents=True)
    record = replace(
        RECORD,
        config=replace(RECORD.config, study=folder.name, space=space, **config),
        data_fingerprint=data_fingerprint,
    )
    write(folder.config_path, record)
    write_json(folder.space_path, unstructure({}))
    study = optuna.create_study(
        storage=open_storage(results.storage_url(None)),
        study_name=folder.name,
        direction="maximize",
    )
    study.set_user_attr(COMPARISON, {"name": comparison, "seconds": 60})
    if values:
        seconds = {"train": 3.0, "storage": 9}
        attributes = {"best_epoch": 2, "n_parameters": n_parameters, "seconds": seconds}
        study.add_trial(create_trial(value=0.95, user_attrs=attributes))
        with_repeats({0: [*values]}).save(folder)
    close_study(study)
    return folder
