"""One label of 2 to 100 classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tuning.errors import ArgumentError, DataError
from tuning.targets.class_scores import FORMULAS, WeightedTexts
from tuning.targets.target import Array, BinaryDecision, LabelColumn, LabelEncoder, Labels, Target

if TYPE_CHECKING:
    import pandas as pd

    from tuning.config import DataConfig

# With fewer texts of a class, the two small splits would have at most one of them.
MIN_TEXTS_PER_CLASS = 10
# Values that mean a missing label in a column of numbers, in lower case: those of pandas, and \N of
# MySQL.
MISSING = frozenset({"na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "\\n"})
# The first of these that is in a column separates the labels of a text, for kind 'labels'.
SEPARATORS = (";", "|", ",")


def are_sets(values: Sequence[str]) -> bool:
    """Return whether distinct values are probably several labels, such as a;b: their parts are
    fewer than the values.
    """
    has_words = any(character.isalpha() for value in values for character in value)
    # Numbers with a decimal comma also have fewer parts.
    return has_words and any(
        len({part.strip() for value in values for part in value.split(mark)}) < len(values)
        for mark in SEPARATORS
    )


@dataclass(frozen=True)
class Classes(Target):
    """The labels are int64 indices into `names`, the predictions a probability for each name."""

    kind = "classes"
    dtype = np.int64
    has_probabilities = True
    constant_names: ClassVar[dict[str, str]] = {"majority class": "always the most frequent class"}

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise ValueError(f"class_names: must be two or more, not {[*self.names]}")
        if len(self.thresholds) not in (0, self.n_thresholds):
            raise ValueError(
                f"thresholds: must be {self.n_thresholds} for {len(self.names)} names, not"
                f" {self.thresholds}"
            )

    @property
    def n_thresholds(self) -> int:
        return int(len(self.names) == 2)

    @property
    def sentence(self) -> str:
        text = f"The model assigns each text to one of the classes {', '.join(self.names)}"
        (threshold,) = self.thresholds or (None,)
        return (
            f"{text}."
            if threshold is None
            else f"{text}: to {self.names[1]} from a probability of {threshold:.4g}."
        )

    @property
    def width(self) -> int:
        return len(self.names)

    @classmethod
    def read(cls, values: pd.Series, *, column: str, config: DataConfig) -> LabelColumn:
        from tuning.targets.class_column import to_classes

        classes = to_classes(
            values,
            column=column,
            positive_from=config.positive_from,
            drop_stars=config.drop_stars,
            minus_one_is_missing=config.data.startswith("tfds:"),
        )
        return LabelColumn(
            cls(classes.class_names),
            classes.codes,
            classes.codes >= 0,
            classes.dropped,
            classes.rule,
        )

    def strata(self, labels: Labels) -> npt.NDArray[np.int64]:
        return labels

    def require_enough(self, labels: Labels) -> None:
        counts = self.counts(labels)
        if min(counts) < MIN_TEXTS_PER_CLASS:
            name = self.names[counts.index(min(counts))]
            kind = ", or give kind 'labels'" if are_sets(self.names) else ""
            raise DataError(
                f"Each class must have {MIN_TEXTS_PER_CLASS} different texts or more, for three"
                f" splits; {name!r} has {min(counts)}. Leave the class out, or merge it with"
                f" another{kind}."
            )

    def counts(self, labels: Labels) -> list[int]:
        counts: list[int] = np.bincount(labels, minlength=self.width).tolist()
        return counts

    def class_weights(self, class_weight: str, labels: Labels) -> Array:
        from tuning.config import BALANCED, class_weight_table

        counts = np.array(self.counts(labels))
        if class_weight == BALANCED:  # scikit-learn's formula
            balanced: Array = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
            return balanced
        table, names = class_weight_table(class_weight), list(self.names)
        numbers = [str(number) for number in range(self.width)]  # as Keras names the classes
        if not set(names) & set(numbers) and set(table) <= set(numbers):
            names = numbers
        if unknown := [name for name in table if name not in names]:
            raise ArgumentError(
                f"class_weight must name classes of the data ({', '.join(names)}); received"
                f" {unknown[0]!r}."
            )
        return np.array([table.get(name, 1.0) for name in names])

    def doubts(self, rule: str | None) -> str:
        folded = defaultdict(list)
        for name in self.names:
            folded[name.casefold()].append(name)
        doubts = [
            f"{' and '.join(map(repr, same))} differ in their capitals alone"
            for same in folded.values()
            if len(same) > 1
        ]
        if missing := [name for name in self.names if name.lower() in MISSING]:
            is_single = len(missing) == 1
            kind = (
                "is a class, not a missing label"
                if is_single
                else "are classes, not missing labels"
            )
            doubts.append(f"{' and '.join(map(repr, missing))} {kind}")
        if are_sets(self.names):
            doubts.append("each combination of labels is a class; kind 'labels' separates them")
        return "; ".join(doubts)

    def examples(self, n: int) -> Labels:
        return np.arange(n, dtype=np.int64) % self.width

    def form_of(self, loss: Any, shape: tuple[int, ...]) -> tuple[LabelEncoder, str | None]:
        from tuning.targets.class_loss import form_of

        return form_of(self, loss, shape)

    def predictions(self, outputs: Array) -> Array:
        """Return the probabilities of all classes. `outputs` are (n, 1) or (n,), the probability of
        class 1, for two classes; or (n, n_classes). Those of several sigmoids do not sum to 1.
        """
        n_classes = self.width
        outputs = outputs.reshape(len(outputs), -1).astype(np.float64)
        if outputs.shape[1] == 1 and n_classes == 2:
            outputs = np.hstack([1 - outputs, outputs])
        if outputs.shape[1] != n_classes:
            ends = ["Dense(1, 'sigmoid')"] * (n_classes == 2) + [f"Dense({n_classes}, 'softmax')"]
            is_five = n_classes == 2 and outputs.shape[1] == 5
            raise ValueError(
                f"The model must give one probability of class 1 (for two classes) or {n_classes}"
                f" of them; it gives {outputs.shape[1]} numbers a text. End it with"
                f" {' or '.join(ends)}."
                + (" positive_from=0 makes each number of stars a class." if is_five else "")
            )
        require_probabilities(outputs)
        return outputs

    def decide(self, predictions: Array) -> Labels:
        decisions: Labels = predictions.argmax(axis=-1)
        if self.thresholds:
            decisions = (predictions[..., 1] >= self.thresholds[0]).astype(np.int64)
        return decisions

    def binary_decisions(self, labels: Labels, predictions: Array) -> dict[str, BinaryDecision]:
        if self.width != 2:
            return {}
        yes = predictions[..., 1]
        # Not >=, because `argmax` decides for the first class at 0.5.
        return {self.names[1]: BinaryDecision(labels == 1, yes, yes > 0.5)}

    def classify(self, probabilities: Any) -> dict[str, Any]:
        import tensorflow as tf

        # Compared in float64, as NumPy does.
        decided = self._decided(tf.cast(probabilities, tf.float64))
        return {
            "label": tf.gather(tf.constant(self.names), decided),
            "probability": tf.gather(probabilities, decided, axis=1, batch_dims=1),
        }

    def _decided(self, exact: Any) -> Any:
        import tensorflow as tf

        if self.thresholds:
            return tf.cast(exact[:, 1] >= self.thresholds[0], tf.int64)
        return tf.argmax(exact, axis=1)

    def labels_of(self, decisions: Labels) -> list[str]:
        return [self.names[number] for number in decisions.tolist()]

    def confidence(self, predictions: Array) -> list[float | None]:
        decided: list[float | None] = np.take_along_axis(
            predictions, self.decide(predictions)[:, None], axis=1
        )[:, 0].tolist()
        return decided

    def formulas(
        self, labels: Labels, predictions: Array, weights: Array
    ) -> Mapping[str, Callable[[], Array]]:
        """Return the formula of each metric, and F1 of each class (`f1_0`, `f1_1`, …)."""
        texts = WeightedTexts(labels, predictions, self.decide(predictions), weights)
        names = {metric.name for metric in self.metrics}
        return {name: partial(f, texts) for name, f in FORMULAS.items() if name in names} | {
            f"f1_{n}": lambda n=n: texts.f1_by_class[:, n] for n in range(self.width)
        }

    def constants(self, labels: Labels) -> dict[str, Array]:
        counts = np.array(self.counts(labels))
        return dict.fromkeys(self.constant_names, counts / counts.sum())

    def linear_columns(self, labels: Labels) -> dict[int, Labels]:
        present = np.unique(labels)
        # The second of two classes says everything about the first.
        fitted = present if len(present) > 2 else present[1:]
        return {number: labels == number for number in fitted.tolist()}

    def of_linear(self, scores: Mapping[int, Array], constant: Array) -> Array:
        from scipy.special import expit

        if not scores:
            return constant
        columns = [expit(score) for score in scores.values()]
        if len(columns) == 1:
            columns = [1 - columns[0], columns[0]]
        stacked = np.stack(columns, axis=1)
        predictions = np.zeros_like(constant)  # A class without training texts keeps 0.
        # The regressions of several classes are independent, so their sum is not 1. It may be 0.
        predictions[:, constant[0] > 0] = stacked / np.maximum(
            stacked.sum(axis=1, keepdims=True), np.finfo(float).tiny
        )
        return predictions


def require_probabilities(outputs: Array) -> None:
    finite = outputs[np.isfinite(outputs)]  # Trials and exports have errors of their own for NaN.
    if finite.size and (finite.min() < -1e-3 or finite.max() > 1 + 1e-3):
        raise ValueError(
            f"The model must give probabilities; it gives numbers from {finite.min():.3g} to"
            f" {finite.max():.3g}. End it with a sigmoid or softmax."
        )
