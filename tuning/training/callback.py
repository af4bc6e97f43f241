"""The Keras callback of a training. After each epoch the callback evaluates the model, records the
result, and stops the training if the answer to the epoch or the patience requires this.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from tuning.errors import SpaceError
from tuning.fidelity import epochs_at, evaluation_rows, is_evaluated
from tuning.inputs.contract import Rows
from tuning.metrics import METRICS, metric_of, sign
from tuning.models.transformer import own_optimizer
from tuning.outcomes import FailureReason
from tuning.targets.target import Array
from tuning.training import checkpoints
from tuning.training.built_model import BuiltModel, EncodedSplit
from tuning.training.result import Answer, Epoch, Infeasible


class Timings:
    """Wall time by phase of a training, in seconds."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def require_given_model(trained: keras.Model | None, model: keras.Model) -> None:
    if trained is None or trained is model:
        return
    # The given model may be a part of the model that is trained.
    given = {id(variable) for variable in model.variables}
    if given.isdisjoint(id(variable) for variable in trained.variables):
        raise SpaceError(
            "fit() must train the model that it gets; it gives its callbacks to another model,"
            " which would not be evaluated. For folds, give folds=5."
        )


class TrainsOn(BaseException):
    """Raised to end an own `fit` of a hypermodel or of a model that goes on after its trial was
    stopped. It is no `Exception`, so that no code of a space handles it as a failed epoch.
    """


class EvaluationCallback(keras.callbacks.Callback):
    """A callback that evaluates the model after each epoch and some parts of the first epoch,
    records the result, and stops the training. `state` is the model's state at a pause.
    """

    def __init__(
        self,
        built: BuiltModel,
        validation: EncodedSplit | None,
        *,
        timings: Timings,
        on_epoch: Callable[[Epoch], Answer],
    ) -> None:
        super().__init__()
        self.result, self.validation, self.timings = built.result, validation, timings
        self.state: dict[str, Array] = {}
        self.probabilities: Array | None = None  # The probabilities of the last evaluation.
        self._evaluated: Rows | None = None  # The rows of the last evaluation; None for all.
        self._built, self._on_epoch, self._predict = built, on_epoch, built.predict
        self._is_stopped = False  # Unlike `result.stopped`, False in a training that is resumed.
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._is_stopped:  # A second call of `model.fit`, or a loop without `stop_training`.
            raise TrainsOn
        require_given_model(self.model, self._built.model)
        self.timings.lap("train")
        # Keras counts each part of an epoch as one epoch, from 0.
        part, parts = epoch + 1, self._built.parts
        number = epochs_at(part, parts)
        # A metric may have a value for each class: KerasTuner uses their mean too. Without a
        # validation split, an own `fit` has measured training texts as its validation data.
        metrics = {
            name: float(np.mean(value))
            for name, value in (logs or {}).items()
            if self.validation or not name.startswith("val_")
        }
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise Infeasible(
                FailureReason.NAN_LOSS,
                f"the training loss is {metrics['loss']} in epoch {number:g}",
            )
        if is_evaluated(part, parts) or number >= self._built.n_epochs:
            self.end_epoch(number, metrics)

    def end_epoch(self, number: float, metrics: dict[str, float]) -> None:
        self._evaluate(number, metrics)
        evaluated = Epoch(number, metrics, time.perf_counter() - self._started)
        self._record(evaluated)
        self.timings.lap("evaluate")
        self._report(evaluated)
        self.timings.lap("idle")
        self._started = time.perf_counter()

    def _rows(self, epochs: float) -> Rows | None:
        """Return the rows of the validation split on which a training is evaluated after a number
        of epochs; None for all rows.
        """
        if self.validation is None or epochs >= self._built.n_epochs:
            return None
        rows = evaluation_rows(epochs, len(self.validation.labels))
        # Some metrics are not defined on a share that lacks a class: without this rule, every trial
        # of `val_auc` failed on data with a rare class.
        return None if rows is None or self._has_rare_class else rows

    @functools.cached_property
    def _has_rare_class(self) -> bool:
        assert self.validation is not None  # for mypy: `_rows` has checked it
        labels = self._built.job.target.strata(self.validation.labels)
        return len(np.unique(labels[evaluation_rows(0, len(labels))])) < len(np.unique(labels))

    def _evaluate(self, number: float, metrics: dict[str, float]) -> None:
        if self.validation is None:
            return
        rows, target = self._rows(number), self._built.job.target
        with final_weights(self._built.model):
            probabilities = self._predict(self.validation.view, target=target, rows=rows)
        if not np.isfinite(probabilities).all():
            raise Infeasible(
                FailureReason.NAN_LOSS, f"the model's output is not finite in epoch {number:g}"
            )
        self._evaluated, self.probabilities = rows, probabilities
        labels = self.validation.labels if rows is None else self.validation.labels[rows]
        metrics |= {
            METRICS[name].objective: value
            for name, value in target.score(labels, probabilities).items()
        }

    def _record(self, epoch: Epoch) -> None:
        result, metric = self.result, self._built.job.metric
        result.history.append(epoch)
        value = epoch.metrics[metric] if self.validation else math.nan
        if self.validation and not math.isfinite(value):
            raise Infeasible(
                FailureReason.NO_METRIC, f"{metric} is {value} in epoch {epoch.number:g}"
            )
        lead, direction = self._lead_of_best(value), sign(metric)
        if lead is None or direction * lead < 0:
            result.best_epoch, result.best_value = epoch.number, value
            result.metrics = epoch.metrics
        elif direction > 0 and epoch.number <= 1 and self._rows(result.best_epoch) is not None:
            # A difference of losses would be less precise: those of an overfitted model vary much.
            result.best_value = min(value + lead, 1.0)
            result.metrics = result.metrics | {metric: result.best_value}

    def _report(self, epoch: Epoch) -> None:
        result = self.result
        answer = self._on_epoch(epoch)
        # Early stopping counts whole epochs: a best epoch within the first one counts from 0.
        is_over = (
            epoch.number - math.floor(result.best_epoch) >= self._built.patience
            or epoch.number >= self._built.n_epochs
        )
        # Such a training ends here: a pause would have nothing to resume, and nothing is pruned.
        result.paused = answer is Answer.PAUSE and not is_over
        result.stopped = result.paused or (answer is Answer.STOP and not is_over)
        if result.paused:  # Before `fit` ends, which may replace the weights (`final_weights`).
            self.state = checkpoints.state_of(self._built.model)
        self._is_stopped = result.stopped
        if result.stopped or is_over:
            self._built.model.stop_training = True
            if self.model is not None:  # An own `fit` may train another model around the built one.
                self.model.stop_training = True

    def _lead_of_best(self, value: float) -> float | None:
        """Return the metric of the best epoch so far minus that of the last evaluation, `value`, on
        the rows of the best epoch, which the last evaluation has too (`evaluation_rows`).

        None for the first evaluation. Without a validation split it is always None: every epoch
        counts as the best, and the patience never runs out.
        """
        best_epoch, job = self.result.best_epoch, self._built.job
        if not self.validation or self.probabilities is None or len(self.result.history) == 1:
            return None
        rows = self._rows(best_epoch)
        if rows is None:
            return self.result.best_value - value
        of_best = next(epoch for epoch in self.result.history if epoch.number == best_epoch)
        own = rows if self._evaluated is None else np.searchsorted(self._evaluated, rows)
        scores = job.target.score(self.validation.labels[rows], self.probabilities[own])
        return of_best.metrics[job.metric] - scores[metric_of(job.metric).name]


@contextlib.contextmanager
def final_weights(model: keras.Model) -> Iterator[None]:
    """Give a model the weights that `use_ema=True` would leave if its training ended now."""
    optimizer = own_optimizer(model)
    # Before the first step, the averages of an optimizer that is built are 0.
    if not (getattr(optimizer, "use_ema", False) and int(optimizer.iterations)):
        yield
        return
    weights = [np.array(variable) for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, weights, strict=True):
            variable.assign(value)
