"""The scores of models on the test split, as `export.json` and `test.json` contain them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tuning import documents
from tuning.documents import OMIT_DEFAULT, prefixed
from tuning.errors import StudyError
from tuning.evaluation.statistics import Interval
from tuning.targets.kinds import constant_names

ACCURACY = "val_accuracy"
# The keys of the models in the order in which the models are shown. The constant reference and the
# linear references follow.
SHOWN_FIRST = ("best", "confirmed best", "baseline")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ScoreInterval:
    """A score and its confidence interval; None where a number is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, interval: Interval) -> ScoreInterval:
        # JSON has no NaN.
        value, low, high = (
            None if math.isnan(number) else number
            for number in (interval.value, interval.low, interval.high)
        )
        return cls(value=value, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A model's scores on the test split by their names, and their intervals (low, high). The
    exported model also has F1 of each class or label.
    """

    test: dict[str, float | None]
    test_intervals: dict[str, tuple[float | None, float | None]]
    test_f1_by_class: dict[str, ScoreInterval] = field(default_factory=dict, metadata=OMIT_DEFAULT)

    def interval(self, name: str) -> tuple[float | None, float | None, float | None]:
        """Return a score and its bounds; None where the document's version had no such metric."""
        return (self.test.get(name), *self.test_intervals.get(name, (None, None)))


@dataclass(frozen=True, kw_only=True)
class ModelScores(Scores):
    """The scores of a trial that was retrained for `epochs` epochs in `seconds`. `validation` has
    its value of the study's metric in the search, by the metric's name.
    """

    trial: int
    epochs: float
    seconds: float
    validation: dict[str, float] = field(default_factory=dict, metadata=prefixed("validation_"))


@dataclass(frozen=True, kw_only=True)
class ReferenceScores(Scores):
    """The scores of a reference, described in `about`, and the seconds of its training."""

    about: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The exported model against another model on the same texts: McNemar's test, the difference
    of their accuracies, and that of the study's metric if it is another one. Models of numbers have
    the last alone, and texts of groups no McNemar's test.
    """

    p_value: float | None = field(default=None, metadata=OMIT_DEFAULT)
    accuracy_difference: Interval | None = field(default=None, metadata=OMIT_DEFAULT)
    metric_difference: Interval | None = field(default=None, metadata=OMIT_DEFAULT)

    def difference(self, metric: str) -> Interval | None:
        """Return the difference in a study's metric; None where the document has none."""
        return self.accuracy_difference if metric == ACCURACY else self.metric_difference


@dataclass(frozen=True, kw_only=True)
class PastEvaluation:
    when: str
    trials: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A text of the test split that the exported model classifies wrongly, with the probability of
    the predicted class.
    """

    text: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """A model of an ensemble: a trial that was retrained with a seed for `epochs` epochs, and its
    weight in the mean.
    """

    trial: int
    seed: int
    weight: float
    epochs: float
    hyperparameters: dict[str, bool | int | float | str]


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    n_parameters: int
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class EnsembleFacts:
    """A comparison of an exported ensemble with the confirmed best alone.

    `validation_difference` is the accuracy of an ensemble minus the mean accuracy of the repeats of
    the confirmed best, on texts of the validation split on which its members were not chosen.
    """

    members: list[EnsembleMember]
    validation_difference: Interval
    size: ModelSize
    size_of_best: ModelSize


@dataclass(frozen=True, kw_only=True)
class ThresholdChange:
    """The value of a measure with a threshold and at 0.5, and the paired difference."""

    value: float
    default: float
    difference: Interval


@dataclass(frozen=True, kw_only=True)
class ChosenThreshold:
    """A threshold of an export. A number that the user gave has no values but those of the test.

    Attributes:
        criterion: what it was chosen for, as the user typed it.
        n_texts: the number of texts on which it was chosen.
        in_sample: the value of each measure on these texts.
        cross_fitted: the changes on these texts, each decided with a threshold of other texts.
        test: the changes on the test split.
    """

    threshold: float
    criterion: str
    n_texts: int = 0
    in_sample: dict[str, float] = field(default_factory=dict)
    cross_fitted: dict[str, ThresholdChange] = field(default_factory=dict)
    test: dict[str, ThresholdChange] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PredictionInterval:
    """The intervals of predicted numbers: `margin` on both sides.

    Attributes:
        level: the share of the labels that they are made for.
        n_residuals: number of out-of-sample predictions that gave the margin.
        coverage: the share of the test split whose labels lie in their intervals.
    """

    level: float
    margin: float
    n_residuals: int
    coverage: Interval


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """The scores of a study's models and of the references on the test split, and every evaluation
    on that split so far. `ensemble` describes the exported model if it is an ensemble.
    `chosen_thresholds` are its thresholds by name, if it does not decide by default as all others
    do, and `interval` describes those of predicted numbers. `n_groups`: the number of groups that
    the intervals are about; None where they are about texts.
    """

    scores: dict[str, ModelScores]
    references: dict[str, ReferenceScores]
    comparisons: dict[str, Comparison]
    test_looks: list[PastEvaluation]
    ensemble: EnsembleFacts | None = field(default=None, metadata=OMIT_DEFAULT)
    chosen_thresholds: dict[str, ChosenThreshold] = field(
        default_factory=dict, metadata=OMIT_DEFAULT
    )
    interval: PredictionInterval | None = field(default=None, metadata=OMIT_DEFAULT)
    n_groups: int | None = field(default=None, metadata=OMIT_DEFAULT)

    @property
    def drawn(self) -> str:
        """What the bootstrap of the intervals draws."""
        return "texts" if self.n_groups is None else f"{self.n_groups:,} groups of texts"


@dataclass(frozen=True, kw_only=True)
class TestDocument(SplitScores):
    """`test.json`: the scores, and the most confident mistakes of the exported model."""

    __test__ = False  # no class of tests for pytest

    mistakes: list[Mistake]


def read_test_scores(path: Path) -> TestDocument | None:
    """Return the contents of `test.json`, with the models in the order in which they are shown;
    None before the first evaluation on the test split.
    """
    if not path.exists():
        return None
    remedy = "Write the export again."
    document = documents.read(path, TestDocument, error=StudyError, remedy=remedy)
    return replace(
        document,
        scores=_in_order(document.scores),
        references=_in_order(document.references),
        comparisons=_in_order(document.comparisons),
    )


def _in_order(models: Mapping[str, T]) -> dict[str, T]:
    # JSON sorts the keys.
    names = (*SHOWN_FIRST, *constant_names(), *models)
    return {name: models[name] for name in names if name in models}
