"""The metrics of the kinds of targets: one record for each.

The validation of settings, messages, tables, figures, cards and stored scores read the records, and
`make docs` writes them into docs/objectives.md. The formulas are in `tuning.targets`, because this
module must not import NumPy.
"""

import math
from dataclasses import dataclass

# Number of decimal places, or of significant digits, with which values are shown.
DIGITS = 4
# Prefix of Keras' log names of values on the validation split, which are the names of objectives.
VALIDATION = "val_"
# The kind of target of a study that names none.
DEFAULT_TARGET = "classes"
CLASSES = (DEFAULT_TARGET, "order")  # the kinds with one class for each text
WITH_LABELS = (*CLASSES, "labels")


@dataclass(frozen=True)
class Metric:
    """A metric of a model.

    Attributes:
        name: its key in stored scores. The objective of a study is `val_` and the name.
        label: its name in tables and sentences.
        meaning: what it measures, in docs/objectives.md.
        maximized: whether larger values are better.
        is_share: whether it is between 0 and 1, with 1 for a perfect model.
        is_objective: whether a study can search for it.
        has_interval: whether the bootstrap gives an interval.
        is_brief: whether tables on a terminal show it, which have no room for all.
        is_binary: whether it is a metric of two classes.
        targets: the kinds of targets that it applies to (`tuning.targets.kinds`).
        unlisted: the kinds whose reports and cards show it only as the study's objective.
    """

    name: str
    label: str
    meaning: str
    maximized: bool = True
    is_share: bool = True
    is_objective: bool = True
    has_interval: bool = True
    is_brief: bool = True
    is_binary: bool = False
    targets: tuple[str, ...] = (DEFAULT_TARGET,)
    unlisted: tuple[str, ...] = ()

    @property
    def objective(self) -> str:
        return f"{VALIDATION}{self.name}"

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that the metric can have."""
        if self.maximized:
            return (0.0 if self.is_share else -math.inf, 1.0)
        return (0.0, math.inf)


# In the order in which tables and figures show them.
METRICS = {
    metric.name: metric
    for metric in (
        # The first metric of a kind is its default objective.
        Metric(
            "quadratic_kappa",
            "quadratic kappa",
            "agreement with the labels beyond chance, where an error of two classes counts four"
            " times as much as an error of one",
            is_share=False,
            targets=("order",),
        ),
        Metric(
            "mae",
            "MAE",
            "mean of the absolute errors, in the unit of the labels",
            maximized=False,
            is_share=False,
            targets=("number", "order"),
        ),
        Metric(
            "rmse",
            "RMSE",
            "root of the mean of the squared errors, in which large errors count more",
            maximized=False,
            is_share=False,
            targets=("number", "order"),
        ),
        Metric(
            "r2",
            "R²",
            "share of the labels' variance that the model explains",
            is_share=False,
            targets=("number",),
        ),
        Metric(
            "f1_micro", "micro F1", "F1 over all labels of all texts together", targets=("labels",)
        ),
        Metric(
            "accuracy",
            "accuracy",
            "share of texts whose class, or whose whole set of labels, is right",
            targets=WITH_LABELS,
        ),
        Metric(
            "balanced_accuracy",
            "balanced accuracy",
            "mean recall of the classes",
            is_brief=False,
            targets=CLASSES,
        ),
        Metric(
            "f1", "F1", "F1 of class 1, or its mean over more than two classes", targets=CLASSES
        ),
        Metric(
            "f1_macro",
            "macro F1",
            "mean F1 of the classes or of the labels, in which rare ones count as much as others",
            targets=WITH_LABELS,
            unlisted=CLASSES,
        ),
        Metric(
            "auc",
            "AUC",
            "area under the ROC curve of class 1, or its mean over more classes or over the labels:"
            " how well the probabilities order the texts",
            targets=WITH_LABELS,
        ),
        Metric(
            "recall_at_precision_0.9",
            "recall at precision 0.9",
            "of two classes: the highest recall of class 1 at a threshold whose precision is 0.9 or"
            " more, or 0 if none is",
            is_binary=True,
            unlisted=(DEFAULT_TARGET,),
        ),
        Metric(
            "precision_at_recall_0.9",
            "precision at recall 0.9",
            "of two classes: the highest precision of class 1 at a threshold whose recall is 0.9 or"
            " more",
            is_binary=True,
            unlisted=(DEFAULT_TARGET,),
        ),
        Metric(
            "loss",
            "loss",
            "cross-entropy, or its mean over the labels: how well the probabilities are calibrated",
            maximized=False,
            is_share=False,
            targets=WITH_LABELS,
        ),
        Metric(
            "brier",
            "Brier score",
            "mean square error of the probability of class 1, or of more than two classes the sum"
            " of those of each class",
            maximized=False,
            is_share=False,
            targets=CLASSES,
            unlisted=CLASSES,
        ),
        Metric(
            "expected_calibration_error",
            "calibration error",
            "mean distance of confidence and accuracy, in bins of the confidence",
            maximized=False,
            is_share=False,
            is_objective=False,
            # This error is a mean of absolute gaps, which are larger in resamples, so an interval
            # may not contain the error itself.
            has_interval=False,
            is_brief=False,
            targets=WITH_LABELS,
        ),
    )
}


OBJECTIVES = tuple(metric.objective for metric in METRICS.values() if metric.is_objective)


def metrics_of(target: str) -> list[Metric]:
    """Return the metrics of a kind of target, in the order in which they are shown."""
    return [metric for metric in METRICS.values() if target in metric.targets]


def objectives_of(target: str) -> tuple[str, ...]:
    return tuple(metric.objective for metric in metrics_of(target) if metric.is_objective)


def metric_of(objective: str) -> Metric:
    return METRICS[objective.removeprefix(VALIDATION)]


def n_decimals(*values: float) -> int:
    """Return the number of decimal places with which values of a metric are shown and compared:
    `DIGITS`, but if the largest is below 0.001, it gets `DIGITS` significant digits, and from 1000
    on no decimal places, because MAE and RMSE have the unit of the labels.
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest < 1e-9 or 0.001 <= largest < 1000:  # Below 1e-9, it is an error of rounding.
        return DIGITS
    return max(DIGITS - 1 - math.floor(math.log10(largest)), 0)


def metric_text(value: float) -> str:
    return f"{value:.{n_decimals(value)}f}"


def is_ahead(value: float, other: float, objective: str) -> bool:
    """Return whether a value is better than another by the digits that sentences show, which
    readers compare.
    """
    n = n_decimals(value, other)
    return sign(objective) * round(value, n) > sign(objective) * round(other, n)


def sign(objective: str) -> int:
    """Return 1 for an objective that is maximized, -1 for an objective that is minimized."""
    return 1 if metric_of(objective).maximized else -1
