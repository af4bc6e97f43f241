"""Decision thresholds: against every threshold of a sample, and against scikit-learn's choice."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.model_selection import TunedThresholdClassifierCV

from tuning.errors import ArgumentError
from tuning.evaluation import thresholds
from tuning.evaluation.out_of_sample import Rows
from tuning.evaluation.predictions import Predictions
from tuning.evaluation.test_split import changes_text
from tuning.targets.classes import Classes
from tuning.targets.labels import MultiLabel
from tuning.targets.target import Array, BinaryDecision, Labels
from tuning.targets.thresholds import (
    UNDER,
    Criterion,
    best_threshold,
    choose_threshold,
    cross_fitted,
    parse_criterion,
    parts_of,
)

FORMULAS = {
    "f1": lambda labels, decided: f1_score(labels, decided, zero_division=0.0),
    "precision": lambda labels, decided: precision_score(labels, decided, zero_division=0.0),
    "recall": recall_score,
}
CRITERIA = [
    parse_criterion("f1"),
    parse_criterion("precision>=0.7"),
    parse_criterion("recall >= 0.7"),
]


def rare(n: int, seed: int, *, spread: float = 1.2) -> tuple[Labels, Array]:
    """Return labels, of which 5 % are True, and probabilities."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.05
    return labels, 1 / (1 + np.exp(3.2 - 2 * labels - rng.normal(0, spread, n)))


def measured(criterion: Criterion, labels: Labels, decided: Labels) -> dict[str, float]:
    values = criterion.measured(labels, decided, np.ones((1, len(labels))))
    return {name: float(value[0]) for name, value in values.items()}


def chosen(labels: Labels, probabilities: Array, criterion: Criterion, seed: int = 0) -> float:
    codes = np.arange(len(labels))
    return choose_threshold(labels, probabilities, criterion, codes=codes, seed=seed)


@settings(max_examples=60)
@given(
    criterion=st.sampled_from(CRITERIA),
    seed=st.integers(0, 10_000),
    n=st.integers(4, 60),
    digits=st.sampled_from([1, 8]),
)
def test_best_threshold_is_the_best_of_all(
    criterion: Criterion, seed: int, n: int, digits: int
) -> None:
    labels, probabilities = rare(n, seed)
    labels[:2] = True, False
    probabilities = probabilities.round(digits)  # Many are equal if they have one digit.
    threshold = best_threshold(labels, probabilities, criterion)
    own = measured(criterion, labels, probabilities >= threshold)
    for other in [*np.unique(probabilities), 0.5, np.nextafter(probabilities.max(), 2)]:
        decided = probabilities >= other
        values = measured(criterion, labels, decided)
        for name in values:
            assert values[name] == pytest.approx(FORMULAS[name](labels, decided))
        if criterion.minimum is not None:
            kept = UNDER[criterion.measure]
            assert own[kept] >= min(criterion.minimum, values[kept]) - 1e-12
            if values[kept] < criterion.minimum:
                continue
        better = values[criterion.measure] - own[criterion.measure]
        assert better <= 1e-9 or other > 1


def test_threshold_is_the_middle_of_its_gap_and_of_equal_gaps_the_nearest_to_the_default() -> None:
    f1, labels = Criterion("f1", "f1"), np.array([0, 0, 1, 1])
    assert best_threshold(labels, np.array([0.1, 0.2, 0.3, 0.9]), f1) == pytest.approx(0.25)
    assert best_threshold(labels, np.array([0.1, 0.2, 0.7, 0.9]), f1) == 0.5
    assert best_threshold(labels, np.array([0.6, 0.7, 0.8, 0.9]), f1) == pytest.approx(0.75)
    close = np.array([0.1, 0.3, np.nextafter(0.3, 1), 0.31])
    assert 0.3 < best_threshold(labels, close, f1) <= close[2]


def test_constraint_that_no_threshold_keeps_gets_the_nearest() -> None:
    labels, probabilities = np.array([1, 0, 1, 0, 1]) == 1, np.array([0.1, 0.9, 0.3, 0.8, 0.7])
    criterion = parse_criterion("precision>=0.95")
    assert criterion is not None
    threshold = best_threshold(labels, probabilities, criterion)
    assert measured(criterion, labels, probabilities >= threshold)["precision"] == pytest.approx(
        0.6
    )


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are its input."""

    def fit(self, X: Array, y: Labels) -> "Given":  # noqa: N803 - as scikit-learn names it
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Array) -> Array:  # noqa: N803
        return np.hstack([1 - X, X])


@pytest.mark.parametrize("n", [500, 2000])
def test_threshold_is_not_behind_that_of_scikit_learn(n: int) -> None:
    changes = []
    for seed in range(20):
        labels, probabilities = rare(n, seed)
        new_labels, new = rare(20_000, 1000 + seed)
        threshold = chosen(labels, probabilities, Criterion("f1", "f1"))
        tuned = TunedThresholdClassifierCV(Given(), scoring="f1", random_state=0)
        other = tuned.fit(probabilities[:, None], labels).best_threshold_
        own, theirs, default = (
            f1_score(new_labels, new >= each) for each in (threshold, other, 0.5)
        )
        changes.append((own - theirs, own - default))
    change, gain = np.mean(changes, axis=0)
    assert change > -0.005 and gain > 0.05


@pytest.mark.parametrize("criterion", CRITERIA)
def test_cross_fitting_removes_the_optimism(criterion: Criterion) -> None:
    """In samples of ten positive texts, the value in the sample is too good for new texts."""
    values = []
    for seed in range(30):
        labels, probabilities = rare(200, seed, spread=2.0)
        codes = np.arange(len(labels))
        new_labels, new = rare(5_000, 1000 + seed, spread=2.0)
        threshold = chosen(labels, probabilities, criterion)
        decision = BinaryDecision(labels, probabilities, probabilities > 0.5)
        held_out = cross_fitted(decision, criterion, codes=codes, seed=seed)
        of_each = [
            measured(criterion, labels, probabilities >= threshold),
            measured(criterion, labels, held_out),
            measured(criterion, new_labels, new >= threshold),
        ]
        values.append([[*each.values()][-1] for each in of_each])
    in_sample, fitted, true = np.mean(values, axis=0)
    assert abs(fitted - true) < abs(in_sample - true)


def test_copies_of_a_text_are_in_one_part_and_drawn_together() -> None:
    labels, probabilities = rare(400, 3)
    codes = np.repeat(np.arange(200), 2)
    labels, probabilities = labels[codes], probabilities[codes]
    parts = parts_of(labels, codes, 5, seed=0)
    assert (parts[::2] == parts[1::2]).all()
    n_positive = np.bincount(parts, weights=labels)
    assert n_positive.max() - n_positive.min() <= 2
    f1 = Criterion("f1", "f1")
    twice = choose_threshold(labels, probabilities, f1, codes=codes, seed=1)
    once = choose_threshold(labels[::2], probabilities[::2], f1, codes=np.arange(200), seed=1)
    assert twice == pytest.approx(once)


@pytest.mark.parametrize(
    ("threshold", "named"),
    [
        ("precision", "quotes"),
        ("1.5", "between 0 and 1"),
        ("0", "between 0 and 1"),
        ("precision>=1", "'precision>=1'"),
        ("cost", "must be f1, "),
    ],
)
def test_wrong_criteria_are_refused(threshold: str, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        parse_criterion(threshold)


def test_criterion_is_given_or_none() -> None:
    assert parse_criterion(None) is None
    given = parse_criterion("0.31")
    assert given is not None and given.number == 0.31


def test_changes_are_about_groups_and_the_threshold_about_texts() -> None:
    rng, target = np.random.default_rng(0), Classes(("a", "b"))
    labels, texts, groups = rng.integers(0, 2, 200), np.arange(200), np.arange(200) // 50
    positive = np.clip(0.2 * labels + rng.random(200) / 2, 0, 1)
    scores, criterion = np.stack([1 - positive, positive], axis=1), parse_criterion("f1")
    assert criterion is not None
    by_group, by_text = (
        thresholds.choose_thresholds(target, Rows(labels, scores, texts, drawn), criterion, seed=0)
        for drawn in (groups, texts)
    )
    of_groups, of_texts = by_group["b"], by_text["b"]
    assert (of_groups.threshold, of_groups.n_texts) == (of_texts.threshold, 200)
    wide, narrow = (each.cross_fitted["f1"].difference for each in (of_groups, of_texts))
    assert wide.value == narrow.value and wide.high - wide.low != narrow.high - narrow.low
    seen = Predictions(labels, texts, scores, when="", target=target)
    on_test = [
        thresholds.tested(by_text, seen, criterion, codes=codes, seed=0)["b"].test["f1"].difference
        for codes in (groups, texts)
    ]
    assert on_test[0].value == on_test[1].value and on_test[0].low != on_test[1].low


def test_measure_of_a_label_that_no_test_text_has_is_left_out() -> None:
    """JSON has no NaN."""
    rng, target = np.random.default_rng(0), MultiLabel(("a", "b"))
    criterion = parse_criterion("recall>=0.9")
    assert criterion is not None
    labels, scores, codes = rng.integers(0, 2, (40, 2)), rng.random((40, 2)), np.arange(40)
    rows = Rows(labels, scores, codes, codes)
    chosen = thresholds.choose_thresholds(target, rows, criterion, seed=0)
    seen = Predictions(labels * [1, 0], codes, scores, when="", target=target)
    of_test = thresholds.tested(chosen, seen, criterion, codes=codes, seed=0)
    measures = [[*each.test] for each in of_test.values()]
    assert measures == [["precision", "recall"], ["precision"]]
    assert all(math.isfinite(v.value) for each in of_test.values() for v in each.test.values())
    assert changes_text({}).startswith("no value is defined")
