"""Metrics compared with scikit-learn and with values computed by hand, and outputs that are not
probabilities.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn import metrics as sklearn_metrics

from tests.numbered import TWO, numbered, score, weighted_scores
from tuning.config import StudyConfig
from tuning.evaluation.statistics import score_intervals
from tuning.metrics import Metric

CONSTRAINED = ("recall_at_precision_0.9", "precision_at_recall_0.9")


def softmax(n: int, n_classes: int, *, seed: int) -> np.ndarray:
    values = np.exp(np.random.default_rng(seed).normal(size=(n, n_classes)))
    return values / values.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("n_classes", "metric"),
    [(n, metric) for n in (2, 3) for metric in numbered(n).metrics],
    ids=lambda part: getattr(part, "name", part),
)
def test_every_metric_has_scores(n_classes: int, metric: Metric) -> None:
    """A perfect classifier is better than one that guesses, by the direction of the metric."""
    labels = np.arange(60) % n_classes
    perfect, guesses = np.eye(n_classes)[labels], softmax(60, n_classes, seed=0)
    values = [
        weighted_scores(labels, probabilities, np.ones((2, 60)))[metric.name]
        for probabilities in (perfect, guesses)
    ]
    assert np.shape(values) == (2, 2)
    direction = 1 if metric.maximized else -1
    assert (direction * values[0] > direction * values[1]).all()
    if metric.is_share:
        assert values[0] == pytest.approx(1) and (values[1] >= 0).all()
    assert (metric.name in score(labels, perfect)) == metric.is_objective
    intervals = score_intervals(numbered(n_classes), labels, guesses, seed=0)
    assert math.isnan(intervals[metric.name].low) != metric.has_interval
    if metric.is_objective:
        assert StudyConfig(study="s", metric=metric.objective).directions == [
            "maximize" if metric.maximized else "minimize"
        ]


# By scikit-learn


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 5), n=st.integers(20, 60))
def test_score_equals_scikit_learn(seed: int, n_classes: int, n: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.arange(n) % n_classes)
    probabilities = softmax(n, n_classes, seed=seed)
    predicted = probabilities.argmax(axis=1)
    ranked = probabilities[:, 1] if n_classes == 2 else probabilities
    expected = {
        "loss": sklearn_metrics.log_loss(labels, probabilities, labels=range(n_classes)),
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predicted),
        "f1": sklearn_metrics.f1_score(
            labels, predicted, average="binary" if n_classes == 2 else "macro", zero_division=0
        ),
        "f1_macro": sklearn_metrics.f1_score(labels, predicted, average="macro"),
        "auc": sklearn_metrics.roc_auc_score(labels, ranked, multi_class="ovr"),
        "brier": sklearn_metrics.brier_score_loss(
            labels, ranked, labels=range(n_classes), scale_by_half=n_classes == 2
        ),
    }
    if n_classes == 2:
        expected |= at_constraints(labels, ranked)
    assert score(labels, probabilities) == pytest.approx(expected)


def test_auc_of_sharp_probabilities_has_no_ties() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(200) % 5)
    logits = 40 * np.random.default_rng(1).normal(size=(200, 5)) + 20 * np.eye(5)[labels]
    probabilities = special.softmax(logits, axis=1)
    expected = sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    assert score(labels, probabilities)["auc"] == pytest.approx(expected, abs=1e-12)


def at_constraints(
    labels: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    precision, recall, _ = sklearn_metrics.precision_recall_curve(
        labels, values, sample_weight=weights
    )
    values = recall[precision >= 0.9].max(), precision[recall >= 0.9].max()
    return dict(zip(CONSTRAINED, values, strict=True))


@settings(max_examples=100)
@given(data=st.data(), n=st.integers(20, 60), decimals=st.integers(1, 3))
def test_weighted_metrics_at_a_constraint_equal_scikit_learn(
    data: st.DataObject, n: int, decimals: int
) -> None:
    """Also with equal probabilities, and texts that a resample does not draw."""
    draw = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    labels = draw.permutation(np.arange(n) % data.draw(st.sampled_from([2, 3, 5])) == 0).astype(int)
    values = np.clip(0.3 * labels + draw.uniform(size=n), 0, 1).round(decimals)
    weights = draw.integers(0, 4, size=(3, n)).astype(float)
    weights[:, np.argmax(labels)] = 1
    scores = weighted_scores(labels, TWO.predictions(values), weights)
    expected = [at_constraints(labels, values, row) for row in weights]
    for name in expected[0]:
        np.testing.assert_allclose(scores[name], [row[name] for row in expected])


# Scores that were computed by hand.


@pytest.mark.parametrize(
    ("labels", "positive", "expected"),
    [
        ([0, 1], [1.0, 0.0], {"loss": -math.log(1e-7), "accuracy": 0, "f1": 0, "auc": 0}),
        ([0, 1], [0.9, 0.2], dict(zip(CONSTRAINED, (0, 0.5), strict=True))),
        ([0, 0], [0.1, 0.2], {"f1": 0, **dict.fromkeys(CONSTRAINED, math.nan)}),
        ([1, 1], [0.9, 0.2], dict.fromkeys(CONSTRAINED, math.nan)),
        ([1, 1], [0.9, 0.2], {"auc": math.nan, "accuracy": 0.5, "balanced_accuracy": 0.5}),
    ],
)
def test_scores_of_two_texts(
    labels: list[int], positive: list[float], expected: dict[str, float]
) -> None:
    values = score(np.array(labels), TWO.predictions(np.array(positive)))
    assert {name: values[name] for name in expected} == pytest.approx(
        expected, rel=1e-3, nan_ok=True
    )


def test_labels_without_one_of_three_classes_have_no_auc() -> None:
    values = score(np.array([0, 1, 0, 1]), softmax(4, 3, seed=0))
    assert math.isnan(values["auc"])
    assert math.isfinite(values["loss"])


def test_one_output_becomes_two_columns_and_one_a_class_is_kept() -> None:
    for outputs in (np.array([[0.25], [1.0]]), np.array([0.25, 1.0])):
        np.testing.assert_array_equal(TWO.predictions(outputs), [[0.75, 0.25], [0, 1]])
    for n_classes in (2, 3):
        outputs = softmax(5, n_classes, seed=0)
        np.testing.assert_array_equal(numbered(n_classes).predictions(outputs), outputs)
    # Probabilities may miss the range by rounding.
    assert TWO.predictions(np.array([1.0000002, -1e-7])).shape == (2, 2)


@pytest.mark.parametrize(
    ("shape", "n_classes"), [((4, 3), 2), ((4,), 3), ((4, 2), 3), ((4, 5, 1), 2)]
)
def test_outputs_of_another_shape_are_refused(shape: tuple[int, ...], n_classes: int) -> None:
    width = math.prod(shape[1:])
    with pytest.raises(ValueError, match=f"it gives {width} numbers a text") as error:
        numbered(n_classes).predictions(np.full(shape, 0.5))
    single = "Dense(1, 'sigmoid') or " * (n_classes == 2)
    assert f"End it with {single}Dense({n_classes}, 'softmax')." in str(error.value)
    assert ("positive_from=0" in str(error.value)) == ((width, n_classes) == (5, 2))


@pytest.mark.parametrize("outputs", [[[-0.5], [0.5]], [[0.5], [3.25]], [[-0.5, 0.5]], [[0.5, 1.5]]])
def test_outputs_that_are_no_probabilities_are_refused(outputs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"must give probabilities; .* a sigmoid or softmax"):
        TWO.predictions(np.array(outputs))
