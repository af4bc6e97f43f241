"""A number, such as a price or a rating."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tuning.errors import DataError, SpaceBug
from tuning.targets.target import Array, LabelColumn, LabelEncoder, Labels, Target

if TYPE_CHECKING:
    import pandas as pd

    from tuning.config import DataConfig

LEVEL = 0.9  # share of the labels that the intervals of predictions are made for
# The splits have equal shares of each tenth of the numbers.
N_STRATA = 10
# The lowest and the highest output of a last layer of one unit, by its activation in Keras.
REACH = {
    "sigmoid": (0, 1),
    "hard_sigmoid": (0, 1),
    "softmax": (1, 1),
    "tanh": (-1, 1),
    "softsign": (-1, 1),
    "relu": (0, math.inf),
    "softplus": (0, math.inf),
    "exponential": (0, math.inf),
}


def number_text(value: float) -> str:
    """Return a prediction, or a bound of its interval, with all its digits, as 1738270 or 0.5."""
    # The outputs of models are float32: further digits of float64 would be noise.
    return np.format_float_positional(np.float32(value), trim="-")


def rounded_text(value: float, n_digits: int = 4) -> str:
    """Return a number with at most `n_digits` digits, or a larger one without decimal places."""
    if abs(value) >= 10**n_digits:
        return f"{value:.0f}"
    return np.format_float_positional(value, precision=n_digits, fractional=False, trim="-")


@dataclass(frozen=True)
class Number(Target):
    """The labels are float64, the predictions one column of numbers."""

    kind = "number"
    dtype = np.float64
    has_decisions = False
    output_name = "predictions"
    constant_names: ClassVar[dict[str, str]] = {
        "median": "always the median of the labels",
        "mean": "always the mean of the labels",
    }
    regression_name = "ridge regression"

    @property
    def sentence(self) -> str:
        return "The model gives each text a number."

    @property
    def width(self) -> int:
        return 1

    @classmethod
    def read(cls, values: pd.Series, *, column: str, config: DataConfig) -> LabelColumn:
        from tuning.targets.class_column import parsed

        text, numbers, present = parsed(values, minus_one_is_missing=False)
        if numbers is None:
            import pandas as pd

            words = text[present & pd.to_numeric(text, errors="coerce").isna()]
            if words.str.fullmatch(r"-?\d+,\d+").all():
                raise DataError(
                    f"Numbers must have a decimal point; {column!r} has {words.iloc[0]!r}. Replace"
                    " decimal commas, or remove the commas of thousands."
                )
            if len(words) == present.sum():
                raise DataError(
                    f"A column for kind 'number' must have numbers; {column!r} has none, but words"
                    f" such as {words.iloc[0]!r}. Choose another label_column, or leave kind out."
                )
            raise DataError(
                f"A column for kind 'number' must have numbers; {column!r} also has"
                f" {words.iloc[0]!r}, in {len(words):,} of {len(text):,} rows. Remove these rows,"
                " or leave kind out."
            )
        labels = numbers.to_numpy(np.float64)
        dropped = {"without a label": int((~present).sum())}
        kept = present & ~np.isin(labels, config.drop_stars)
        dropped["with dropped stars"] = int((present & ~kept).sum())
        # Keras computes squared errors in float32.
        with np.errstate(over="ignore"):
            too_large = kept & ~np.isfinite(np.square(labels.astype(np.float32)))
        dropped["with an infinite label, or one beyond ±1.8e19"] = int(too_large.sum())
        kept &= ~too_large
        if len(np.unique(labels[kept])) < 2:
            raise DataError(
                f"A column for kind 'number' must have different numbers; {column!r} has"
                f" {len(np.unique(labels[kept]))}. Choose another label_column."
            )
        quantiles = np.quantile(labels[kept], [0, 0.5, 1]).tolist()
        low, median, high = (rounded_text(value, 6) for value in quantiles)
        rule = f"from {low} to {high}, median {median}"
        return LabelColumn(cls(), labels, kept, {why: n for why, n in dropped.items() if n}, rule)

    def strata(self, labels: Labels) -> npt.NDArray[np.int64]:
        inner = np.arange(1, N_STRATA) / N_STRATA
        bounds = np.unique(np.quantile(labels, inner, method="inverted_cdf"))
        strata: npt.NDArray[np.int64] = np.searchsorted(bounds, labels)
        return strata

    def require_enough(self, labels: Labels) -> None:
        pass

    def examples(self, n: int) -> Labels:
        return np.linspace(0.0, 1.0, n)

    def form_of(self, loss: Any, shape: tuple[int, ...]) -> tuple[LabelEncoder, str | None]:
        from tuning.targets.number_loss import form_of

        return form_of(loss, shape)

    def require_in_reach(self, model: Any, labels: Labels) -> None:
        import keras

        # The last layer of a subclassed model may be at any place of its `call`.
        last: Any = model.layers[-1] if getattr(model, "outputs", None) else None
        for name, (low, high) in REACH.items():
            is_last = getattr(last, "activation", None) is getattr(keras.activations, name)
            if is_last and (labels.min() < low or labels.max() > high):
                raise SpaceBug(
                    f"A model of numbers must be able to give every label; {name} of one unit gives"
                    f" {low} to {high}, and the labels are {rounded_text(labels.min())} to"
                    f" {rounded_text(labels.max())}. End the model with Dense(1).",
                )

    def adapt(self, model: Any, labels: Labels) -> None:
        """Give a last `Dense(1, trainable=False)` after one number the standard deviation of the
        labels as its kernel, and their mean as its bias.
        """
        import keras

        # The layers before it are then trained on a scale that does not depend on the unit of the
        # labels: the same learning rate suits prices and ratings.
        last: Any = model.layers[-1] if getattr(model, "layers", None) else None
        is_scale = isinstance(last, keras.layers.Dense) and not last.trainable
        if is_scale and [weight.shape for weight in last.weights] == [(1, 1), (1,)]:
            last.set_weights([np.array([[labels.std() or 1.0]]), np.array([labels.mean()])])

    def predictions(self, outputs: Array) -> Array:
        if np.prod(outputs.shape[1:]) != 1:
            raise ValueError(
                "The model must give one number a text; it gives"
                f" {int(np.prod(outputs.shape[1:]))}. End it with Dense(1)."
            )
        return outputs.reshape(-1, 1).astype(np.float64)

    def with_margin(self, labels: Labels, predictions: Array) -> Number:
        """Return the target with a margin for `LEVEL`: split conformal prediction (Lei, G'Sell,
        Rinaldo, Tibshirani and Wasserman, JASA 2018). Of n absolute residuals in ascending order,
        the margin is number (n + 1) `LEVEL`, rounded up.
        """
        gaps = np.sort(np.abs(predictions[:, 0] - labels))
        number = math.ceil((len(gaps) + 1) * LEVEL)
        # Fewer than 9 residuals are too few for this level.
        return replace(self, margin=float(gaps[number - 1]) if number <= len(gaps) else None)

    def decide(self, predictions: Array) -> Labels:
        return predictions[..., 0]

    def labels_of(self, decisions: Labels) -> list[str]:
        return [number_text(number) for number in decisions.tolist()]

    def formulas(
        self, labels: Labels, predictions: Array, weights: Array
    ) -> Mapping[str, Callable[[], Array]]:
        return errors(labels, predictions[:, 0], weights)

    def constants(self, labels: Labels) -> dict[str, Array]:
        values = (np.median(labels), np.mean(labels))
        return {
            name: np.array([value]) for name, value in zip(self.constant_names, values, strict=True)
        }

    def linear_columns(self, labels: Labels) -> dict[int, Labels]:
        return {0: labels} if np.ptp(labels) else {}

    def of_linear(self, scores: Mapping[int, Array], constant: Array) -> Array:
        return scores[0][:, None] if scores else constant


def errors(labels: Labels, values: Array, weights: Array) -> dict[str, Callable[[], Array]]:
    """Return the formulas of the errors of numbers, as `Target.formulas`: MAE, RMSE and R², whose
    reference is the mean of the labels (`sklearn.metrics.r2_score`).
    """
    gaps, total = values - labels, weights.sum(axis=1)

    def r2() -> Array:
        centred = labels - labels.mean()  # Squares of large numbers would lose the differences.
        around: Array = weights @ centred**2 - (weights @ centred) ** 2 / total
        with np.errstate(invalid="ignore", divide="ignore"):
            share: Array = 1 - weights @ gaps**2 / np.where(around > 0, around, np.nan)
        return share

    return {
        "mae": lambda: weights @ np.abs(gaps) / total,
        "rmse": lambda: np.sqrt(weights @ gaps**2 / total),
        "r2": r2,
    }
