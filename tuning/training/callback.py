"""The Keras callback of a training: evaluate after each epoch, keep the result, ask whether to go
on, stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tuning.config import sign
from tuning.data.corpus import LabelledTexts
from tuning.evaluation.metrics import Array, confusion, score
from tuning.outcomes import FailureReason
from tuning.training import checkpoints
from tuning.training.batching import View
from tuning.training.prediction import predict
from tuning.training.result import Answer, Epoch, FitResult, Infeasible


class Timings:
    """Seconds by phase."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Add the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What each epoch is evaluated on, and with.

    `view` and `texts` are the validation split; None: the training metrics stand alone, and every
    epoch is trained. Training stops after `patience` epochs without a better value of `metric`.
    """

    view: View | None
    texts: LabelledTexts | None
    n_classes: int
    metric: str
    patience: int
    on_epoch: Callable[[Epoch], Answer]


class EvaluationCallback(keras.callbacks.Callback):
    """Evaluates the model after each epoch, keeps the result, and stops the training when it
    should end.

    `state` is the model's state at a pause. It is copied before `fit` ends, because at the end of
    `fit` an optimizer with `use_ema=True` replaces the weights by their moving averages.
    """

    def __init__(
        self, model: keras.Model, validation: Validation, result: FitResult, timings: Timings
    ) -> None:
        super().__init__()
        self.result = result
        self.timings = timings
        self.state: dict[str, Array] = {}
        self._trained, self._validation = model, validation
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.timings.lap("train")
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise Infeasible(
                FailureReason.NAN_LOSS,
                f"the training loss is {metrics['loss']} in epoch {epoch + 1}",
            )
        matrix = self._evaluate(epoch, metrics)
        self.timings.lap("evaluate")
        now = time.perf_counter()
        self._keep(Epoch(len(self.result.history) + 1, metrics, now - self._started), matrix)
        self.timings.lap("idle")
        self._started = time.perf_counter()

    def _evaluate(self, epoch: int, metrics: dict[str, float]) -> list[list[int]]:
        """Add the validation metrics to `metrics`; return the confusion matrix."""
        validation = self._validation
        if validation.view is None or validation.texts is None:
            return []
        probabilities = predict(self._trained, validation.view, n_classes=validation.n_classes)
        if not np.isfinite(probabilities).all():
            raise Infeasible(
                FailureReason.NAN_LOSS, f"the model's output is not finite in epoch {epoch + 1}"
            )
        labels = validation.texts.labels
        metrics |= {f"val_{name}": value for name, value in score(labels, probabilities).items()}
        return confusion(labels, probabilities)

    def _keep(self, epoch: Epoch, matrix: list[list[int]]) -> None:
        result, validation = self.result, self._validation
        result.history.append(epoch)
        value = math.nan if validation.view is None else epoch.metrics[validation.metric]
        if validation.view is not None and not math.isfinite(value):
            raise Infeasible(
                FailureReason.NO_METRIC,
                f"{validation.metric} is {value} in epoch {epoch.number}",
            )
        if self._is_best(value):
            result.best_epoch, result.best_value = epoch.number, value
            result.metrics, result.confusion = epoch.metrics, matrix
        answer = validation.on_epoch(epoch)
        is_over = epoch.number - result.best_epoch >= validation.patience
        # A training whose patience is over has no epochs left to go on with.
        result.paused = answer is Answer.PAUSE and not is_over
        result.stopped = result.paused or answer is Answer.STOP
        if result.paused:
            self.state = checkpoints.state_of(self._trained)
        if result.stopped or is_over:
            self._trained.stop_training = True

    def _is_best(self, value: float) -> bool:
        """Whether an epoch is the best so far. Without validation the last epoch counts as the
        best, so that nothing stops the training early.
        """
        result, towards = self.result, sign(self._validation.metric)
        return (
            self._validation.view is None
            or not result.best_epoch
            or towards * value > towards * result.best_value
        )
