"""The training of one configuration: seed, build, fit, evaluate after each epoch.

The objective's value is the metric of the best epoch. The training stops early after `patience`
epochs without a better value. A paused training is resumed from its checkpoint, and has exactly the
metrics of a training that was never paused.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tuning.config import exceeded
from tuning.errors import SpaceBug, StorageError
from tuning.evaluation.predictions import NAN_REMEDY, write_probabilities
from tuning.hardware import peak_memory_mb, reset_peak_memory, return_memory
from tuning.inputs.contract import LabeledTexts
from tuning.outcomes import FailureReason
from tuning.spaces.keras_settings import clear_session, keras_settings_of
from tuning.spaces.loading import has_own_fit
from tuning.targets.target import Array
from tuning.training import checkpoints, prediction
from tuning.training.built_model import (
    BuiltModel,
    EncodedSplit,
    build_model,
    finalize_layers,
    remember_trained,
)
from tuning.training.callback import EvaluationCallback, Timings
from tuning.training.loops import train_epochs
from tuning.training.result import Answer, Epoch, FitResult, Infeasible, OverLimit, TrainingJob

logger = logging.getLogger(__name__)


def build_anew(hypermodel: keras_tuner.HyperModel, job: TrainingJob) -> BuiltModel:
    # Without `clear_session` a process grew by 1.1 MB in each training, with it not at all (60
    # trainings of a small model). It comes first, because the session of Keras keeps the memory of
    # the last model, which is to be returned and not part of the peak, and the seed.
    clear_session()
    return_memory()
    keras.utils.set_random_seed(job.seed)
    reset_peak_memory()
    return build_model(hypermodel, job)


def fit(
    hypermodel: keras_tuner.HyperModel,
    job: TrainingJob,
    *,
    train: LabeledTexts,
    validation: LabeledTexts | None,
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    idle_seconds: float = 0.0,
    build: Callable[[keras_tuner.HyperModel, TrainingJob], BuiltModel] = build_anew,
) -> tuple[keras.Model, FitResult]:
    """Train one configuration from its start, or from the checkpoint at which it was paused.

    The same seed and values give the same metrics in every process with the same number of threads
    (`keras.utils.set_random_seed`). A hypermodel with its own `fit` stops instead of pausing,
    because its loop can't be entered in the middle.

    Args:
        validation: the validation split. If it is None, all epochs are trained
            (`BuiltModel.n_epochs`), and `on_epoch` gets the training metrics.
        on_epoch: called after each epoch; its answer decides whether the training goes on.
        idle_seconds: time for which the process has waited for this training.
        build: returns the model that is trained.
    """
    timings = Timings({"idle": idle_seconds})
    with keras_settings_of(hypermodel):
        splits = [split for split in (train, validation) if split]
        with _nan_explained(hypermodel, job, splits), _infeasible_errors():
            built = build(hypermodel, job)
            train_split = built.encode(train)
            is_fitted = built.adapt(train_split)
            # After `adapt`, because a model of texts can't be called without its vocabulary.
            built.measure_latency()
            timings.lap("build")
            # A model beyond a limit needs neither a view of the validation split nor a trace.
            if exceeded(job.limits, vars(built.result)):
                built.result.seconds = timings.seconds
                raise OverLimit(built.result)
            validation_split = built.encode(validation) if validation else None
            timings.lap("view")
            callback = EvaluationCallback(
                built, validation_split, timings=timings, on_epoch=on_epoch
            )
            begins_at_0 = (is_fitted and job.train.evaluates_fitted) or built.n_epochs == 0
            try:
                train_epochs(built, callback, train=train_split, begins_at_0=begins_at_0)
            finally:
                # An own `fit` may have made further layers trainable.
                remember_trained(built.model)
        timings.lap("train")
        _complete(built, train_split, timings)
        with _infeasible_errors():  # A file of the state needs memory of the size of the state.
            if built.result.paused:
                path = None if has_own_fit(built.hypermodel) else job.checkpoint
                built.result.paused = checkpoints.keep(path, callback.state, built.result)
            if job.weights:
                checkpoints.save_trained(Path(job.weights), built.model)
            if job.predictions and validation_split:
                _save_predictions(built, validation_split, callback.probabilities)
    return built.model, built.result


def load_trained(hypermodel: keras_tuner.HyperModel, job: TrainingJob) -> BuiltModel:
    """Build a model with the seed of its training, and load its trained weights."""
    with keras_settings_of(hypermodel):
        clear_session()
        keras.utils.set_random_seed(job.seed)
        built = build_model(hypermodel, job)
        checkpoints.load_trained(Path(job.weights or ""), built.model)
        finalize_layers(built.model)
    return built


def _complete(built: BuiltModel, train: EncodedSplit, timings: Timings) -> None:
    result = built.result
    if not result.history:
        raise Infeasible(
            FailureReason.NO_EPOCH,
            "fit() ended before its first epoch did; it must pass its callbacks to model.fit",
        )
    # The result of a resumed training already has the seconds before the pause.
    for phase, seconds in timings.seconds.items():
        result.seconds[phase] = result.seconds.get(phase, 0.0) + seconds
    result.n_tokens = round(int(train.view.lengths.sum()) * result.n_epochs)
    result.peak_memory_mb = max(result.peak_memory_mb, peak_memory_mb())


def _save_predictions(
    built: BuiltModel, validation: EncodedSplit, probabilities: Array | None
) -> None:
    # A hypermodel's own `fit` may have changed the model since the last evaluation.
    if probabilities is None or has_own_fit(built.hypermodel):
        predict = prediction.Predictor(built.model, built.form.to_probabilities)
        probabilities = predict(validation.view, target=built.job.target)
    keep_probabilities(Path(built.job.predictions or ""), probabilities)


def keep_probabilities(path: Path, probabilities: Array) -> None:
    try:
        write_probabilities(path, probabilities)
    except StorageError as error:  # A full disk. The scores of the repeat do not need the file.
        logger.warning("The predictions of a repeat were not kept: %s", error)


@contextlib.contextmanager
def _infeasible_errors() -> Iterator[None]:
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise _out_of_memory(error) from error
    # `run_user_code` makes a `SpaceBug` of each exception, also of those of the callback that the
    # hypermodel's own `fit` calls.
    except SpaceBug as bug:
        if isinstance(bug.__cause__, Infeasible):
            raise bug.__cause__ from None
        if isinstance(bug.__cause__, tf.errors.ResourceExhaustedError):
            raise _out_of_memory(bug.__cause__) from bug
        # Under KerasTuner, the code of a space raises this error to fail a trial.
        if isinstance(bug.__cause__, keras_tuner.errors.FailedTrialError):
            raise Infeasible(FailureReason.REFUSED, str(bug.__cause__)) from bug
        raise


@contextlib.contextmanager
def _nan_explained(
    hypermodel: keras_tuner.HyperModel, job: TrainingJob, splits: list[LabeledTexts]
) -> Iterator[None]:
    try:
        yield
    # NaN fails one trial. A model that gives NaN for texts without words would fail all of them, so
    # this cause stops the study.
    except Infeasible as error:
        n_empty = sum(int(np.count_nonzero(split.texts.lengths == 0)) for split in splits)
        is_nan = error.reason is FailureReason.NAN_LOSS
        if not (is_nan and n_empty and _gives_nan_without_words(hypermodel, job, splits)):
            raise
        raise SpaceBug(
            "A model must take texts without words, such as texts of punctuation alone; this model"
            f" gives NaN for them, and the training and validation splits have {n_empty}."
            f" {NAN_REMEDY}",
        ) from error


def _gives_nan_without_words(
    hypermodel: keras_tuner.HyperModel, job: TrainingJob, splits: list[LabeledTexts]
) -> bool:
    built = build_anew(hypermodel, replace(job, resume=False))
    built.adapt(built.encode(splits[0]))
    split = next(split for split in splits if (split.texts.lengths == 0).any())
    row = np.flatnonzero(split.texts.lengths == 0)[:1]
    return bool(np.isnan(built.model.predict_on_batch(built.encode(split).view.batch(row))).any())


def _out_of_memory(error: Exception) -> Infeasible:
    return Infeasible(FailureReason.OUT_OF_MEMORY, (str(error).splitlines() or ["no detail"])[0])
