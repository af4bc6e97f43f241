"""The contract of a target: what a model predicts of a row.

| step | asks |
|---|---|
| the label column is read and split | `read`, `dtype`, `strata`, `require_enough` |
| the data card | `counts`, `doubts` |
| a model is built | `width`, `examples`, `form_of`, `require_in_reach`, `adapt` |
| a model is trained | `class_weights`, `text_weights` |
| an epoch is evaluated | `predictions`, `score` |
| linear models are trained for comparison | `linear_columns`, `of_linear` |
| models are compared on the test split | `formulas`, `is_right`, `constants` |
| an export is written | `binary_decisions`, `with_margin`, `classify`, `output_name` |
| an export predicts | `predictions`, `decide`, `labels_of`, `confidence`, `bounds` |

A kind is a module with a subclass, and a line in `KINDS` of `tuning.targets.kinds`. Predictions
import NumPy alone, so heavy imports stand inside the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tuning.documents import OMIT_DEFAULT, structure, unstructure
from tuning.errors import ArgumentError
from tuning.metrics import DEFAULT_TARGET, Metric, metric_of, metrics_of

if TYPE_CHECKING:
    import pandas as pd

    from tuning.config import DataConfig

Array = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[Any]
"""The labels of texts, (n,), or (n, width) for several labels, in the dtype of their target."""

LabelEncoder = Callable[[Labels], Labels]
"""Takes labels, (n,), and returns them as a loss takes them, with n rows."""


def likelihoods(labels: Labels, predictions: Array) -> Array:
    """Return the probabilities of labels, (…, n, n_answers): that of the class, or for several
    labels of a text that of each 0 or 1. `predictions` are probabilities, (…, n, width).
    """
    if labels.ndim == 1:
        return predictions[..., np.arange(len(labels)), labels][..., None]
    return np.where(labels > 0, predictions, 1 - predictions)


@dataclass(frozen=True)
class LabelColumn:
    """The labels of all rows of a source.

    Attributes:
        labels: (n_rows,), with any value in the rows without a label.
        is_labeled: bool (n_rows,).
        dropped: the number of rows without a label, by reason.
        rule: how the values became labels; None if they are the labels.
    """

    target: Target
    labels: Labels
    is_labeled: npt.NDArray[np.bool_]
    dropped: dict[str, int]
    rule: str | None = None


@dataclass(frozen=True)
class BinaryDecision:
    """A decision between yes and no, which a threshold makes.

    Attributes:
        labels: bool (n,).
        probabilities: the probability of yes, (n,).
        default: the decisions without a threshold, bool (n,).
    """

    labels: npt.NDArray[np.bool_]
    probabilities: Array
    default: npt.NDArray[np.bool_]

    def decided(self, threshold: float) -> npt.NDArray[np.bool_]:
        is_yes: npt.NDArray[np.bool_] = self.probabilities >= threshold
        return is_yes

    def rows(self, which: npt.NDArray[np.bool_]) -> BinaryDecision:
        return BinaryDecision(self.labels[which], self.probabilities[which], self.default[which])


@dataclass(frozen=True)
class _Keys:
    """The keys of a target in a message."""

    class_names: list[str]
    predicts: str = field(default=DEFAULT_TARGET, metadata=OMIT_DEFAULT)
    margin: float | None = field(default=None, metadata=OMIT_DEFAULT)
    thresholds: tuple[float, ...] = field(default=(), metadata=OMIT_DEFAULT)


@dataclass(frozen=True)
class Target(ABC):
    """A target of one data set. `names` are the names of its classes; empty for a kind without."""

    names: tuple[str, ...] = ()
    margin: float | None = None
    """Half the width of the interval of a predicted number; None if it is not known."""
    thresholds: tuple[float, ...] = ()
    """The thresholds of `binary_decisions`, in their order; empty for the default decisions."""

    kind: ClassVar[str]
    """Its key in `KINDS`, in documents and in `Metric.targets`."""
    dtype: ClassVar[type[np.generic]]
    """The dtype of the labels."""
    has_probabilities: ClassVar[bool] = False
    """Whether the predictions are probabilities of `names`, one column each."""
    is_exclusive: ClassVar[bool] = True
    """Whether a text has one of `names`, so that the sum of its probabilities is 1."""
    has_decisions: ClassVar[bool] = True
    """Whether a prediction is right or wrong, so that models have an accuracy."""
    output_name: ClassVar[str] = "probabilities"
    """The name of the predictions in the files of an export."""
    constant_names: ClassVar[dict[str, str]]
    """The names of `constants`, and what they predict."""
    regression_name: ClassVar[str] = "logistic regression"
    """The linear model of `linear_columns`."""

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What the model does, in a sentence of the card of an export."""

    @property
    def metrics(self) -> list[Metric]:
        return [m for m in metrics_of(self.kind) if self.width == 2 or not m.is_binary]

    def listed_metrics(self, objective: str) -> list[Metric]:
        """Return the metrics that reports and cards show, with a study's objective."""
        kind = self.kind
        return [m for m in self.metrics if kind not in m.unlisted or m.objective == objective]

    @property
    @abstractmethod
    def width(self) -> int:
        """The number of columns of the predictions, which spaces read as `n_classes`."""

    @property
    def facts(self) -> dict[str, Any]:
        """The hyperparameters that the labels decide (`tuning.spaces.loading.declare`)."""
        return {"n_classes": self.width}

    @classmethod
    @abstractmethod
    def read(cls, values: pd.Series, *, column: str, config: DataConfig) -> LabelColumn:
        """Read a label column; several columns, for several labels of a text, are a data frame.

        Raises:
            DataError: the column has no labels of this kind.
        """

    @abstractmethod
    def strata(self, labels: Labels) -> npt.NDArray[np.int64]:
        """Return the stratum of each text, int64 (n,): each split has its share of each stratum."""

    @abstractmethod
    def require_enough(self, labels: Labels) -> None:
        """Check that three splits can be made of distinct texts with these labels.

        Raises:
            DataError: too few texts have a label.
        """

    def counts(self, labels: Labels) -> list[int]:
        """Return the number of texts of each name; empty for a kind without names."""
        return []

    def class_weights(self, class_weight: str, labels: Labels) -> Array:
        """Return the weight of each name in the loss, (n_names,), for a study's `class_weight`.

        Raises:
            ArgumentError: a name is not one of the target's, or the kind has no classes.
        """
        raise ArgumentError(
            f"class_weight must be left out for kind {self.kind!r}, in which a text has no class;"
            f" received {class_weight!r}."
        )

    def text_weights(
        self, class_weight: str, labels: Labels, weights: Array | None
    ) -> Array | None:
        """Return the weight of each text in the loss, float32 (n,), for a study's `class_weight`
        and the weights of the rows; None if all texts have the same.
        """
        if not class_weight:
            return weights
        of_text: Array = self.class_weights(class_weight, labels)[labels].astype(np.float32)
        return of_text if weights is None else weights * of_text

    def doubts(self, rule: str | None) -> str:
        """Return which names are probably no names, or the same name, or why another kind may fit
        better; "" without a doubt. `rule`: as in `LabelColumn`.
        """
        return ""

    @abstractmethod
    def examples(self, n: int) -> Labels:
        """Return n labels of which none is rare, for a first try of a model."""

    @abstractmethod
    def form_of(self, loss: Any, shape: tuple[int, ...]) -> tuple[LabelEncoder, str | None]:
        """Return the encoding of the labels that a compiled loss takes, and for a loss for logits
        Keras' activation that makes predictions of them.

        `shape` is the shape of the model's output for one text.

        Raises:
            SpaceBug: the output has another width, or the loss is for another kind.
        """

    def require_in_reach(self, model: Any, labels: Labels) -> None:  # noqa: B027
        """Check that the output of a model can be these labels of the training split.

        Raises:
            SpaceBug: the activation of its last layer excludes some of them.
        """

    def adapt(self, model: Any, labels: Labels) -> None:  # noqa: B027
        """Set what layers of a model take from the labels of the training split."""

    @abstractmethod
    def predictions(self, outputs: Array) -> Array:
        """Return a model's outputs as predictions, float64 (n, width).

        Raises:
            ValueError: the outputs are not those of a model of this target.
        """

    @abstractmethod
    def decide(self, predictions: Array) -> Labels:
        """Return the predicted label of each text, (…, n), or (…, n, width) for several labels, for
        predictions (…, n, width).
        """

    def is_right(self, labels: Labels, predictions: Array) -> npt.NDArray[np.bool_]:
        """Return whether each decision is right, bool (…, n), for predictions (…, n, width)."""
        right: npt.NDArray[np.bool_] = self.decide(predictions) == labels
        return right

    def binary_decisions(self, labels: Labels, predictions: Array) -> dict[str, BinaryDecision]:
        """Return the decisions that thresholds make, by name; empty for a target without."""
        return {}

    def classify(self, probabilities: Any) -> dict[str, Any]:
        """Return `labels_of` and `confidence` of a `tf.Tensor` of predictions, as tensors (n,)."""
        raise NotImplementedError(f"predictions of {self.kind} have no labels")

    @abstractmethod
    def labels_of(self, decisions: Labels) -> list[str]:
        """Return labels as texts, as predictions show them."""

    def confidence(self, predictions: Array) -> list[float | None]:
        """Return the probability of each decision; None for a kind without probabilities."""
        return [None] * len(predictions)

    def with_margin(self, labels: Labels, predictions: Array) -> Target:
        """Return the target with the margin that out-of-sample predictions, (n, width), give."""
        return self

    def bounds(self, predictions: Array) -> list[tuple[float, float] | None]:
        """Return the interval of each prediction; None without a margin."""
        if self.margin is None:
            return [None] * len(predictions)
        margin = self.margin
        return [(value - margin, value + margin) for value in predictions[:, 0].tolist()]

    @abstractmethod
    def formulas(
        self, labels: Labels, predictions: Array, weights: Array
    ) -> Mapping[str, Callable[[], Array]]:
        """Return the formula of each metric by its name. A formula gives the value for each of many
        weightings of the texts at once, (n_weightings,), and NaN where the metric is undefined.

        A resample of the bootstrap is a weighting: the weight of a text is the number of times that
        it was drawn.

        Args:
            labels: (n,).
            predictions: (n, width).
            weights: (n_weightings, n), 0 or more.
        """

    def score(self, labels: Labels, predictions: Array) -> dict[str, float]:
        """Return the value of each objective's metric by its name."""
        formulas = self.formulas(labels, predictions, np.ones((1, len(labels))))
        return {m.name: float(formulas[m.name]()[0]) for m in self.metrics if m.is_objective}

    def value(self, labels: Labels, predictions: Array, *, metric: str = "") -> float:
        """Return the value of an objective, by default of the target's first."""
        name = metric_of(metric).name if metric else self.metrics[0].name
        formulas = self.formulas(labels, predictions, np.ones((1, len(labels))))
        return float(formulas[name]()[0])

    @abstractmethod
    def constants(self, labels: Labels) -> dict[str, Array]:
        """Return the best predictions that are the same for every text, (width,), by name."""

    def constant(self, labels: Labels) -> Array:
        """Return the first of `constants`."""
        return next(iter(self.constants(labels).values()))

    @abstractmethod
    def linear_columns(self, labels: Labels) -> dict[int, Labels]:
        """Return what linear models are trained to predict, by the number of the column: bool (n,)
        for logistic regressions, or numbers. A column of a single value is left out.
        """

    @abstractmethod
    def of_linear(self, scores: Mapping[int, Array], constant: Array) -> Array:
        """Return predictions, (n, width), from the scores of the models of `linear_columns`, (n,).
        `constant` is the constant prediction of their training texts, in n rows.
        """

    def document(self) -> dict[str, Any]:
        """Return the keys of a message that say what a model predicts."""
        keys = _Keys([*self.names], self.kind, self.margin, self.thresholds)
        return unstructure(keys)

    @classmethod
    def of_document(cls, values: Mapping[str, Any]) -> Target:
        from tuning.targets.kinds import target_of

        keys = structure(values, _Keys)
        return target_of(
            keys.class_names, keys.predicts, margin=keys.margin, thresholds=keys.thresholds
        )
