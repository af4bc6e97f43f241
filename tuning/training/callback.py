"""What a training gives, epoch by epoch: evaluate, keep, ask whether to go on, stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import keras
import numpy as np

from tuning.config import sign
from tuning.data.corpus import LabelledTexts
from tuning.evaluation.metrics import Array, confusion, score
from tuning.training import checkpoints
from tuning.training.batching import View
from tuning.training.prediction import predict

Answer = bool | Literal["pause"]  # after an epoch: go on, stop, or stop and save a checkpoint


class Infeasible(Exception):
    """A configuration that can't be trained, for a named reason: its trial fails, and the search
    goes on.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class OverLimit(Exception):
    """A model that is larger or slower than allowed; `result` says how large and how slow."""

    def __init__(self, result: FitResult) -> None:
        super().__init__("over a limit")
        self.result = result


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. `number` counts from 1; `metrics` are by Keras' log names."""

    number: int
    metrics: dict[str, float]
    seconds: float


@dataclass
class FitResult:
    """One training, finished or paused; `best_epoch` is where the objective was best, and
    `confusion` the matrix there.

    Without a validation split every epoch counts as better than the one before, and `best_value` is
    NaN.

    `seconds` are by phase: "build", "view", "first_step" (tracing), "train", "evaluate", and
    "idle", waiting for the coordinator. `latency_ms` is of a single review, where it was asked for.
    `n_tokens` counts what was trained on, over all epochs, padding left out.
    """

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.nan
    metrics: dict[str, float] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    stopped: bool = False
    paused: bool = False
    n_parameters: int = 0
    latency_ms: float | None = None
    n_fused_layers: int = 0
    n_tokens: int = 0
    padding_share: float = 0.0
    ignores_padding: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "history": [Epoch(**epoch) for epoch in values["history"]]})


class Clock:
    """Seconds by phase."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Count the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What an epoch is judged by."""

    view: View | None
    validation: LabelledTexts | None
    n_classes: int
    metric: str
    patience: int
    on_epoch: Callable[[Epoch], Answer]


class Watcher(keras.callbacks.Callback):
    """Evaluates after each epoch, keeps the result, and stops the training when it should end.

    `state` is the model's at a pause, before `fit` ends: there an optimizer with `use_ema=True`
    puts averages in the place of the weights.
    """

    def __init__(self, model: keras.Model, judge: Judge, result: FitResult, clock: Clock) -> None:
        super().__init__()
        self.result = result
        self.clock = clock
        self.state: dict[str, Array] = {}
        self._trained, self._judge = model, judge
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.clock.lap("train")
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise Infeasible(
                "NaN loss", f"the training loss is {metrics['loss']} in epoch {epoch + 1}"
            )
        matrix: list[list[int]] = []
        if self._judge.view is not None and self._judge.validation is not None:
            probabilities = predict(
                self._trained, self._judge.view, n_classes=self._judge.n_classes
            )
            if not np.isfinite(probabilities).all():
                raise Infeasible(
                    "NaN loss", f"the model's output is not finite in epoch {epoch + 1}"
                )
            labels = self._judge.validation.labels
            metrics |= {
                f"val_{name}": value for name, value in score(labels, probabilities).items()
            }
            matrix = confusion(labels, probabilities)
        self.clock.lap("evaluate")
        now = time.perf_counter()
        self._keep(Epoch(len(self.result.history) + 1, metrics, now - self._started), matrix)
        self.clock.lap("idle")
        self._started = time.perf_counter()

    def _keep(self, epoch: Epoch, matrix: list[list[int]]) -> None:
        result, metric = self.result, self._judge.metric
        result.history.append(epoch)
        value = math.nan if self._judge.view is None else epoch.metrics[metric]
        if self._judge.view is not None and not math.isfinite(value):
            raise Infeasible("no metric", f"{metric} is {value} in epoch {epoch.number}")
        towards = sign(metric)
        # Without validation no epoch is better than another: the last one counts, and nothing stops
        # the training early.
        if (
            self._judge.view is None
            or not result.best_epoch
            or towards * value > towards * result.best_value
        ):
            result.best_epoch, result.best_value, result.metrics, result.confusion = (
                epoch.number,
                value,
                epoch.metrics,
                matrix,
            )
        answer = self._judge.on_epoch(epoch)
        is_over = epoch.number - result.best_epoch >= self._judge.patience
        result.paused = answer == "pause" and not is_over  # there is nothing to go on with
        result.stopped = result.paused or answer is False
        if result.paused:
            self.state = checkpoints.state_of(self._trained)
        if result.stopped or is_over:
            self._trained.stop_training = True
