"""The job and the result of a training. This module does not import Keras, because the coordinator
uses it as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from tuning.config import TrainConfig
from tuning.data.rows import Redraw
from tuning.outcomes import FailureReason
from tuning.spaces.ranges import Values
from tuning.targets.target import Target


class Answer(StrEnum):
    """The coordinator's answer to an epoch: the next step of the training."""

    GO_ON = "go on"
    STOP = "stop"
    PAUSE = "pause"  # Stop, and save a checkpoint from which the training can be resumed.


class Infeasible(Exception):
    """Raised for a configuration that can't be trained: the trial fails, the search goes on."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class OverLimit(Exception):
    """Raised for a model beyond a limit; `result` has its number of parameters and its latency."""

    def __init__(self, result: FitResult) -> None:
        super().__init__("over a limit")
        self.result = result


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The configuration and the settings of one training.

    Args:
        seed: seed of the initial weights, the dropout and the order of the texts.
        n_epochs: exact number of epochs of the training, which may be a fraction; None if `train`
            decides when it ends.
        known: names of the hyperparameters that the search space declares. If empty, the names
            that the space reads are not checked.
        limits: maximum of `n_parameters` and of `latency_ms`. A model beyond one of them is not
            trained.
        checkpoint: path of the file in which a paused training is saved.
        resume: whether the training starts from `checkpoint`.
        with_validation: whether to train on the training and the validation split together. In
            that case no epoch is evaluated, and every epoch is trained.
        redraw: how the rows of the training and the validation split are split again; None: the
            splits as they are. With several folds, the configuration is trained on each of them.
        weights: path of the file in which the trained model's variables are saved.
        predictions: path of the file in which the trained model's probabilities for the validation
            split are saved; with folds, for the rows of both splits, of the model that was trained
            without the row.
        n_ngram_ids: maximum number of rows of a table of n-grams; None: any.
    """

    values: Values
    target: Target
    train: TrainConfig
    seed: int
    n_epochs: float | None = None
    metric: str = "val_accuracy"
    known: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    measure_latency: bool = False
    checkpoint: str | None = None
    resume: bool = False
    with_validation: bool = False
    redraw: Redraw | None = None
    weights: str | None = None
    predictions: str | None = None
    n_ngram_ids: int | None = None


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch. `number` is the number of trained epochs: 0 for a model that `adapt`
    has fitted, and a fraction within the first epoch of a large data set (`fidelity`). `seconds` is
    the wall time since the previous epoch, with the evaluation. With folds, an `Epoch` is a fold:
    `number` is the number of trained folds, and the metrics are their means.
    """

    number: float
    metrics: dict[str, float]
    seconds: float


@dataclass
class FitResult:
    """The result of one training, which has finished or is paused.

    Without a validation split every epoch counts as better than the previous epoch, and
    `best_value` is NaN.

    Args:
        best_epoch: number of the epoch with the best value of the metric, which may be a fraction,
            or 0 if that is the model as `adapt` has fitted it.
            Values on different texts are compared on the texts that both have.
        best_value: value of the metric in that epoch. A value on a share of the texts, other than a
            loss, is replaced until the first whole epoch by that of the next evaluation plus the
            difference of both on the share.
        metrics: all metrics of that epoch, by Keras' log names; that of `best_value` has its value.
        folds: the best epoch of each trained fold. `best_epoch` is then the mean of their numbers,
            rounded half up, `best_value` and `metrics` are means, and the totals are of all folds.
        n_fold_epochs: number of trained epochs of all folds, also after their best epochs.
        stopped: whether the coordinator stopped or paused the training.
        paused: whether a checkpoint of the training was saved, from which it can be resumed.
        latency_ms: latency of a single review; None if it was not measured.
        n_fused_layers: number of layers that ran with this package's kernels.
        n_tokens: number of tokens in all epochs, without padding.
        seconds: wall time by phase: "build", "view", "first_step" (tracing), "train", "evaluate",
            and "idle" (waiting for the coordinator).
    """

    history: list[Epoch] = field(default_factory=list)
    best_epoch: float = 0
    best_value: float = math.nan
    metrics: dict[str, float] = field(default_factory=dict)
    folds: list[Epoch] = field(default_factory=list)
    n_fold_epochs: float = 0
    stopped: bool = False
    paused: bool = False
    n_parameters: int = 0
    latency_ms: float | None = None
    n_fused_layers: int = 0
    n_tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0

    @property
    def n_epochs(self) -> float:
        return self.history[-1].number if self.history else 0
