"""What a training is given and what it gives, without Keras: the coordinator reads these too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from tuning.config import TrainConfig
from tuning.outcomes import FailureReason
from tuning.spaces.ranges import Values


class Answer(StrEnum):
    """What a training does after an epoch."""

    GO_ON = "go on"
    STOP = "stop"
    PAUSE = "pause"  # stop, and save a checkpoint to go on from


class Infeasible(Exception):
    """A configuration that can't be trained, for a named reason. Its trial fails, and the search
    goes on.
    """

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class OverLimit(Exception):
    """A model that is larger or slower than allowed; `result` has its size and latency."""

    def __init__(self, result: FitResult) -> None:
        super().__init__("over a limit")
        self.result = result


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training.

    Args:
        values: the configuration.
        known: names of the hyperparameters that the search space declares; empty: not checked.
        limits: maximum of `n_parameters` and `latency_ms`; a model beyond them is not trained.
        measure_latency: whether to measure the latency of a single review.
        checkpoint: the file that a pause is saved to, and from which `resume` goes on.
        with_validation: whether the texts of the validation split are trained on as well. Nothing
            is evaluated then, and every epoch is trained.
        weights: the file that the trained model's weights are saved to.
    """

    values: Values
    n_classes: int
    train: TrainConfig
    seed: int
    metric: str = "val_accuracy"
    known: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    measure_latency: bool = False
    checkpoint: str | None = None
    resume: bool = False
    with_validation: bool = False
    weights: str | None = None


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch. `number` counts from 1; `metrics` are by Keras' log names."""

    number: int
    metrics: dict[str, float]
    seconds: float


@dataclass
class FitResult:
    """One training, finished or paused.

    `best_epoch` is the epoch with the best value of the metric, `confusion` the confusion matrix
    after that epoch. Without a validation split every epoch counts as better than the one before,
    and `best_value` is NaN.

    `seconds` are by phase: "build", "view", "first_step" (tracing), "train", "evaluate", and "idle"
    (waiting for the coordinator). `latency_ms` is the latency of a single review, where it was
    measured. `n_tokens` counts the tokens of all epochs, without padding.
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
