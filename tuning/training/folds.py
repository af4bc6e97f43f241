"""The training of one configuration on several folds, one after the other. Each fold is trained as
a training on one split is, from its seed to its best epoch, and its result is that of its best
epoch. The result of the configuration is the mean over the folds.

The coordinator gets the mean over the folds so far after each fold, and may pause the training
there. A checkpoint is written after each fold, so a search that is interrupted or killed loses at
most one fold. On Ray, the checkpoint is sent only when a training ends. It contains no weights,
because each fold begins with the same initial weights.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras_tuner
import numpy as np

from tuning.data.redraw import redrawn
from tuning.data.rows import Rows
from tuning.evaluation.predictions import read_probabilities
from tuning.inputs.contract import LabeledTexts, resplit
from tuning.models import FittedStart
from tuning.spaces.loading import has_own_fit
from tuning.targets.target import Array
from tuning.training import checkpoints
from tuning.training.architecture import is_stock
from tuning.training.built_model import BuiltModel
from tuning.training.fit import build_anew, fit, keep_probabilities
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob

# Models with more parameters are built for each fold. A copy of their initial state, with that of
# Adam, would need more than 120 MB, and their epochs take longer than the tracing.
MAX_PARAMETERS = 10_000_000


def fit_folds(
    hypermodel: keras_tuner.HyperModel,
    job: TrainingJob,
    *,
    train: LabeledTexts,
    validation: LabeledTexts,
    rows: Rows,
    on_epoch: Callable[[Epoch], Answer],
    idle_seconds: float = 0.0,
) -> FitResult:
    """Train one configuration on the folds of the rows of both splits, from the first fold or from
    the fold after the checkpoint. `on_epoch` is called after each fold.
    """
    assert job.redraw is not None  # for mypy: the caller has read it
    result = checkpoints.read_result(Path(job.checkpoint or "")) if job.resume else None
    result = result or FitResult()
    probabilities: Array | None = None
    folds, models = redrawn(rows, job.redraw), Models()
    for fold, places in enumerate(folds[len(result.folds) :], start=len(result.folds)):
        started = time.perf_counter()
        of_train, of_validation = resplit(train, validation, places)
        predictions = Path(f"{job.predictions}.tmp") if job.predictions else None
        own_job = replace(
            job,
            checkpoint=None,
            resume=False,
            predictions=str(predictions) if predictions else None,
            # The size and the latency of the model do not depend on the fold.
            limits={} if fold else job.limits,
            measure_latency=job.measure_latency and not fold,
        )
        own = fit(
            hypermodel,
            own_job,
            train=of_train,
            validation=of_validation,
            idle_seconds=idle_seconds,
            build=models,
        )[1]
        kept = read_probabilities(predictions) if predictions else None
        if predictions:
            predictions.unlink(missing_ok=True)
        if kept is not None:
            if probabilities is None:
                probabilities = np.full((len(rows.texts), kept.shape[1]), np.nan, kept.dtype)
            probabilities[places[1]] = kept
        result = _with_fold(result, own, job, seconds=time.perf_counter() - started)
        asked = time.perf_counter()
        answer, is_over = on_epoch(result.history[-1]), len(result.folds) == len(folds)
        idle_seconds = time.perf_counter() - asked
        result.stopped = answer is not Answer.GO_ON and not is_over
        goes_on = not is_over and answer in (Answer.GO_ON, Answer.PAUSE)
        is_kept = goes_on and checkpoints.keep(job.checkpoint, {}, result)
        if result.stopped:
            result.paused = is_kept
            break
    if job.predictions and probabilities is not None:
        keep_probabilities(Path(job.predictions), probabilities)
    return result


class Models:
    """Builds the model of the first fold, and gives this model its initial state for each other
    fold. On small data, tracing the functions of a new model would take most of the time.

    The metrics equal those of new models to the bit. A model is built for each fold if its training
    may change more than the values of its variables.
    """

    def __init__(self) -> None:
        self._first: tuple[BuiltModel, dict[str, Array]] | None = None

    def __call__(self, hypermodel: keras_tuner.HyperModel, job: TrainingJob) -> BuiltModel:
        if self._first is None:
            built = build_anew(hypermodel, job)
            if _is_reusable(built):
                self._first = built, checkpoints.state_of(built.model)
            return built
        built, state = self._first
        checkpoints.assign_state(built.model, state, source="the state of the first fold")
        built.model.stop_training = False
        result = FitResult(n_parameters=built.result.n_parameters)
        return replace(built, job=job, result=result, is_reused=True)


def _is_reusable(built: BuiltModel) -> bool:
    model, adapt = built.model, getattr(built.hypermodel, "adapt", None)
    return (
        not has_own_fit(built.hypermodel)
        # The user's code, and a layer that is adapted, may keep a state of another kind.
        and (adapt is None or getattr(adapt, "__func__", None) is FittedStart.adapt)
        and not any(hasattr(layer, "adapt") for layer in model._flatten_layers())
        # A training may switch XLA off.
        and model.jit_compile is not True
        and model.count_params() <= MAX_PARAMETERS
        and is_stock(model)
    )


def _with_fold(result: FitResult, own: FitResult, job: TrainingJob, *, seconds: float) -> FitResult:
    best = own.history[-1]
    # A training for an exact number of epochs has the value of its last epoch, as the repeats of a
    # confirmation have.
    if job.n_epochs is None:
        best = replace(best, number=own.best_epoch, metrics=own.metrics)
    folds = [*result.folds, best]
    metrics = {
        name: statistics.fmean(epoch.metrics[name] for epoch in folds)
        for name in best.metrics
        if all(name in epoch.metrics for epoch in folds)
    }
    phases = Counter(result.seconds)
    phases.update(own.seconds)
    return replace(
        own,
        history=[*result.history, Epoch(len(folds), metrics, seconds)],
        # Half up: an export has more training rows than a fold, and 0 would train nothing.
        best_epoch=math.floor(statistics.fmean(epoch.number for epoch in folds) + 0.5),
        best_value=metrics[job.metric],
        metrics=metrics,
        folds=folds,
        n_fold_epochs=result.n_fold_epochs + own.n_epochs,
        latency_ms=own.latency_ms if result.latency_ms is None else result.latency_ms,
        n_tokens=result.n_tokens + own.n_tokens,
        seconds=dict(phases),
        peak_memory_mb=max(result.peak_memory_mb, own.peak_memory_mb),
    )
