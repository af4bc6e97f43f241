"""A search from Python. The command `tune` is derived from this function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuning.api.inputs import default_study, source_of
from tuning.api.parameters import (
    ClassWeight,
    DataSource,
    LimitsOption,
    Objectives,
    PrunerOption,
    ResultsFolder,
    SamplerOption,
    SpaceSource,
    StorageURL,
    Trackers,
    WorkersOption,
    folder_of,
    limits_of,
    plain_values,
    workers_of,
)
from tuning.api.study import Study
from tuning.api.tracking import watching
from tuning.config import (
    AUTO,
    SPACE_OF_PRESETS,
    given,
    is_keras_file,
    number_of_folds,
    parse_objectives,
)
from tuning.display.console import end_script
from tuning.errors import ArgumentError
from tuning.results import ResultsDir
from tuning.spaces.files import find_space
from tuning.spaces.objects import keep_space, pickle_space, place_of


@plain_values
def tune(
    data: DataSource = None,
    *,
    space: SpaceSource = None,
    study: str | None = None,
    n_trials: int | None = None,
    timeout_seconds: float | None = None,
    epochs: int | None = None,
    folds: str | int | None = None,
    min_texts: int | None = None,
    vocab_size: int | None = None,
    sequence_length: int | None = None,
    preset: str | Path | None = None,
    class_weight: ClassWeight = None,
    metric: str | None = None,
    objectives: Objectives = None,
    max_parameters: int | None = None,
    max_latency_ms: float | None = None,
    sampler: SamplerOption = None,
    pruner: PrunerOption = None,
    seed: int | None = None,
    workers: WorkersOption = None,
    limits: LimitsOption = None,
    keep_going: bool = False,
    confirm: bool = True,
    resplit: bool | None = None,
    log_to: Trackers = (),
    results: ResultsFolder = "results",
    storage: StorageURL = None,
) -> Study:
    """Search for the best configuration and confirm it; the same call continues a stopped study.

    A study keeps the data, search space, objective, seed, sampler, pruner and epochs that it was
    created with. For an existing study these are the defaults, and other values are refused.
    Ctrl-C, or the stop button of a notebook, pauses the running trials.

    Args:
        data: data set: movie_reviews, tfds:NAME for a data set of TensorFlow Datasets, the path or
            pattern of files, or, in Python, a data frame or `Data(...)` (default movie_reviews).
        space: search space: a name in search_spaces/, the path of a file, or FILE.py:NAME for one
            of its hypermodels; in Python also a `keras_tuner.HyperModel`, a subclass of it, or a
            function `build(hp)` (default text, or frozen_encoder with preset).
        study: name of the study (default: search space and data set, as in text-movie_reviews).
        n_trials: total number of finished trials of the study (default: the value of the last call,
            or 20 for a new study).
        timeout_seconds: maximum duration of this call's search, in seconds (default: no limit).
        epochs: maximum number of epochs of a training (default 5).
        folds: number of folds, up to 20, of the rows that are not test: a trial is trained on each
            of them, and its value is their mean; 1 for one split into training and validation, or
            auto: 5 for fewer than 5,000 rows (default auto, or 1 with min_texts).
        min_texts: minimum number of texts that a trial trains before it is compared with other
            trials: a large data set is compared at parts of its first epoch (default 16384).
        vocab_size: number of rows of the vocabulary, padding and unknown included, in all trials
            (default: the search space's own; where it declares none, the rows of its model's
            embedding).
        sequence_length: maximum number of tokens of a text in all trials (default: the search
            space's own; where it declares none, the length of its model's input, or the 95th
            percentile of the training texts' lengths).
        preset: pretrained encoder of a search space such as frozen_encoder or finetuned_encoder: a
            folder, an address such as hf://NAME/MODEL, a name in KerasHub's list, or for
            frozen_encoder the file of a Keras model, as encoder.keras (default: the search space's
            own).
        class_weight: weights of the classes in the loss: balanced, for the same total weight of all
            classes, or a number for each class, as in negative:1,positive:5; in Python also a
            dictionary (default: all rows count equally).
        metric: objective of the search, such as val_f1; a wrong name lists all (default
            val_accuracy, or by kind val_quadratic_kappa, val_f1_micro or val_mae).
        objectives: several objectives: a metric, then n_params, latency_ms or both, as in
            val_accuracy,latency_ms (default: the metric alone).
        max_parameters: maximum number of parameters of a model; larger models are not trained
            (default: no limit).
        max_latency_ms: maximum latency of a model for a single text, in milliseconds; slower models
            are not trained (default: no limit).
        sampler: sampler, one of tpe, random, cmaes, grid, qmc, gp, in Python also an object of
            `optuna.samplers.BaseSampler` (default tpe).
        pruner: pruner, one of asha, hyperband, successive_halving, median, none, in Python also an
            object of `optuna.pruners.BasePruner` (default: asha, or none with several objectives).
        seed: random seed of the data split, the sampler and each training: an integer, 0 or more
            (default 0).
        workers: number of training processes, or in Python `Workers(...)` (default: one for each
            GPU, or for each CPU core if there is no GPU; with pool ray, as many as the cluster has
            room for).
        limits: limits of one trial, in Python `Limits(...)` (default: those of `Limits`).
        keep_going: let an exception in the search space's code fail only its trial (default: the
            exception stops the study).
        confirm: whether to train the best configurations again on fresh seeds after the search
            (default: they are trained).
        resplit: whether each fresh seed of the confirmation also draws its own training and
            validation rows, so that the result is not about one split (default: below 20,000 rows
            or with folds, unless the split is by time or the validation rows are given).
        log_to: trackers that the study is written to: mlflow:URI, tensorboard:DIR or wandb:DIR
            (default: none).
        results: folder of all studies (default results).
        storage: URL of the Optuna storage (default: the file optuna.db in the folder of all
            studies).

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
    from tuning.workers.server import start_server

    chosen, limits = workers_of(workers), limits_of(limits)
    if chosen.pool == "process":
        # The fork server imports Keras while this process imports Optuna and reads the data. The
        # import of Keras takes longer than all of these steps, and the first trial waits for it.
        start_server()
    from tuning.display.logs import import_optuna

    import_optuna()
    from tuning.search import tune as searching
    from tuning.study.samplers import name_of_pruner, name_of_sampler

    # A study with a value for `min_texts` has one split (docs/search.md).
    usual_folds = AUTO if min_texts is None else None
    budget = searching.Budget(
        n_trials=n_trials,
        timeout_seconds=timeout_seconds,
        min_texts=min_texts,
        folds=number_of_folds(usual_folds if folds in (None, AUTO) else folds),
    )
    source = source_of(data)
    if isinstance(space, str | Path):
        find_space(str(space))  # A wrong name is refused before the data are written.
    root = ResultsDir(folder_of("results", results))
    usual = None if preset is None else SPACE_OF_PRESETS
    folder = root.study(
        default_study(_space_name(space) or usual, source.name) if study is None else study
    )
    # An existing study has a space of its own.
    if space is None and not folder.config_path.exists():
        space = usual
    names = given(
        sampler=sampler and name_of_sampler(sampler), pruner=pruner and name_of_pruner(pruner)
    )
    settings = given(metric=metric, seed=seed, **names)
    settings |= given(max_parameters=max_parameters, max_latency_ms=max_latency_ms)
    settings |= given(vocab_size=vocab_size, sequence_length=sequence_length, resplit=resplit)
    train = given(epochs=epochs, class_weight=class_weight)
    settings |= given(preset=preset and preset_place(preset), train=train or None)
    if objectives is not None:
        settings |= _objective_settings(objectives, metric=metric, pruner=names.get("pruner"))
    settings |= given(data=source.write(folder) or None, space=space and keep_space(space))
    config = searching.configure(folder.name, settings, folder)
    with watching(folder, metric=config.metric, log_to=log_to) as subscribers:
        outcome = searching.tune(
            config,
            root,
            storage_url=root.storage_url(storage),
            budget=budget,
            workers=chosen,
            limits=limits,
            keep_going=keep_going,
            confirms=confirm,
            sampler=None if isinstance(sampler, str) else sampler,
            pruner=None if isinstance(pruner, str) else pruner,
            subscribers=subscribers,
        )
    if not outcome.is_complete:
        end_script()
    is_object = space is not None and not isinstance(space, str | Path)
    return Study(folder, root, storage=storage, space=space if is_object else None)


def _space_name(space: Any) -> str | None:
    if space is None or isinstance(space, str | Path):
        return None if space is None else str(space)
    pickle_space(space)  # A wrong object is refused before the data are written.
    return place_of(space)


def preset_place(preset: str | Path) -> str:
    """Return a preset as a study records it: the absolute path of a folder or a Keras model, or an
    unchanged name or address.
    """
    path = Path(preset).expanduser()
    is_path = path.is_dir() or is_keras_file(preset)
    return str(path.absolute()) if is_path else str(preset)


def _objective_settings(
    objectives: str | Sequence[str], *, metric: str | None, pruner: str | None
) -> dict[str, Any]:
    text = objectives if isinstance(objectives, str) else ",".join(map(str, objectives))
    first, costs = parse_objectives(text)
    if metric not in (None, first):
        raise ArgumentError(
            f"metric must be the first of objectives, or left out; received {metric!r} and"
            f" {text!r}."
        )
    return {"metric": first, "costs": costs, "pruner": pruner or "none"}
