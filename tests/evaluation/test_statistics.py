"""Intervals and paired tests, compared with scipy's and scikit-learn's own."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.numbered import TWO, score, weighted_scores
from tuning.documents import structure, unstructure
from tuning.evaluation.statistics import (
    Interval,
    Verdict,
    accuracy_difference,
    as_shown,
    dunnett_critical_value,
    mcnemar,
    mean_interval,
    score_difference,
    score_intervals,
)


def sample(
    n: int, *, n_classes: int = 2, seed: int = 0, skill: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of all classes, and probabilities that are slightly better than chance."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    logits = rng.normal(size=(n, n_classes)).round(1) + skill * np.eye(n_classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@settings(max_examples=40)
@given(n=st.integers(6, 60), n_classes=st.integers(2, 4), seed=st.integers(0, 10_000))
def test_weights_are_repetitions(n: int, n_classes: int, seed: int) -> None:
    labels, probabilities = sample(n, n_classes=n_classes, seed=seed)
    times = np.random.default_rng(seed).integers(0, 3, n)
    times[:n_classes] = 1  # every class is there
    rows = np.repeat(np.arange(n), times)
    scores = weighted_scores(labels, probabilities, times[None, :].astype(float))
    repeated = weighted_scores(labels[rows], probabilities[rows], np.ones((1, len(rows))))
    for name, value in scores.items():
        assert value[0] == pytest.approx(repeated[name][0], abs=1e-9), name


def test_intervals_of_many_small_classes_contain_their_values() -> None:
    """A class that is neither drawn nor predicted has no F1; it must not count as 0."""
    labels = np.repeat(np.arange(100), 2)
    probabilities = np.full((200, 100), 1e-3)
    wrong = np.random.default_rng(0).random(200) < 0.3
    probabilities[np.arange(200), np.where(wrong, (labels + 1) % 100, labels)] = 0.9
    intervals = score_intervals(TWO, labels, probabilities, seed=0)
    for name in ("f1", "balanced_accuracy", "accuracy"):
        interval = intervals[name]
        assert interval.low < interval.value < interval.high, name


def test_calibration_error_of_an_honest_model_is_small_and_of_a_sure_one_is_its_error() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.5, 1, 20_000)
    labels = (rng.uniform(size=20_000) < chance).astype(int)
    honest = np.stack([1 - chance, chance], axis=1)
    sure = np.eye(2)[np.ones(20_000, dtype=int)]
    of_honest, of_sure = (
        weighted_scores(labels, given, np.ones((1, 20_000)))["expected_calibration_error"][0]
        for given in (honest, sure)
    )
    assert of_honest < 0.02 and of_sure == pytest.approx(1 - labels.mean())


def bounds_of(intervals: dict[str, Interval]) -> dict[str, tuple[float, float]]:
    """Return the bounds of the scores that have bounds."""
    return {name: (i.low, i.high) for name, i in intervals.items() if not math.isnan(i.low)}


def test_score_intervals_repeat_themselves_and_hold_their_value() -> None:
    labels, probabilities = sample(300, n_classes=3)
    first, second = (score_intervals(TWO, labels, probabilities, seed=1) for _ in range(2))
    assert bounds_of(first) == bounds_of(second)
    assert all(
        interval.low <= interval.value <= interval.high
        for name, interval in first.items()
        if name != "expected_calibration_error"
    )
    # Its bootstrap is biased, so it has no interval.
    assert math.isnan(first["expected_calibration_error"].low)
    other = score_intervals(TWO, labels, probabilities, seed=2)
    assert bounds_of(first) != bounds_of(other)


def test_score_that_is_not_defined_has_no_interval() -> None:
    labels, probabilities = np.zeros(20, dtype=np.int64), np.tile([0.7, 0.3], (20, 1))
    auc = score_intervals(TWO, labels, probabilities, seed=0)["auc"]
    assert math.isnan(auc.value) and math.isnan(auc.low)


def test_interval_of_a_part_of_the_resamples_at_a_time_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, probabilities = sample(50)
    whole = score_intervals(TWO, labels, probabilities, seed=0)
    monkeypatch.setattr("tuning.evaluation.statistics.MAX_WEIGHTS", 50 * 7)
    part = score_intervals(TWO, labels, probabilities, seed=0)
    # The sums of products of matrices depend on their sizes in the last digit.
    for name, bounds in bounds_of(whole).items():
        assert bounds_of(part)[name] == pytest.approx(bounds, rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("overlap", [0.0, 15 / 70, 1.0])
def test_interval_over_fresh_splits_is_nadeau_and_bengio_s(n: int, overlap: float) -> None:
    values = np.random.default_rng(n).normal(0.8, 0.02, n).tolist()
    shown = mean_interval(values, overlap=overlap)
    half = stats.t.ppf(0.975, n - 1) * math.sqrt((1 / n + overlap) * np.var(values, ddof=1))
    assert [shown.low, shown.high] == pytest.approx([shown.value - half, shown.value + half])


def test_scale_of_a_difference_is_stored_and_kept_when_it_is_rounded() -> None:
    """Equal intervals may have different scales."""
    change = Interval(0.12345, 0.1, 0.2, scale=5e-4)
    assert structure(unstructure(change), Interval).scale == as_shown(change).scale == 5e-4


def test_mean_interval_of_one_value_has_no_bounds_and_of_equal_ones_no_width() -> None:
    assert math.isnan(mean_interval([0.8]).low)
    same = mean_interval([0.8, 0.8, 0.8])
    assert (same.low, same.high) == (pytest.approx(0.8), pytest.approx(0.8))
    for values in ([], [0.8, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="finite"):
            mean_interval(values)


@pytest.mark.parametrize("has_copies", [False, True])
def test_difference_of_any_score_is_paired(has_copies: bool) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 300)
    first, second = draw.dirichlet([1, 1], (2, 300))
    codes = np.arange(300) // 2 if has_copies else None
    own = score_difference("accuracy", TWO, labels, first, second, seed=1, codes=codes)
    expected = accuracy_difference(TWO, labels, first, second, seed=1, codes=codes)
    bounds = [own.value, own.low, own.high]
    assert bounds == pytest.approx([expected.value, expected.low, expected.high])
    for name in ("accuracy", "balanced_accuracy", "f1", "auc", "loss"):
        change = score_difference(name, TWO, labels, first, second, seed=1)
        values = [score(labels, probabilities)[name] for probabilities in (first, second)]
        assert change.value == pytest.approx(values[0] - values[1])
        assert change.low < change.value < change.high
        assert change.scale == pytest.approx(values[0])
        assert score_difference(name, TWO, labels, first, first, seed=1) == Interval(0, 0, 0)


def test_mcnemar_tests_the_texts_where_only_one_is_right() -> None:
    labels = np.array([0] * 12)
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    first = np.array([right] * 10 + [wrong] * 2)
    second = np.array([wrong] * 9 + [right] * 1 + [wrong, right])
    expected = pytest.approx(stats.binomtest(9, 10, 0.5).pvalue)
    assert mcnemar(TWO, labels, first, second) == expected
    assert mcnemar(TWO, labels, first, first) == 1


@pytest.mark.parametrize("n_copies", [2, 5])
def test_copies_of_texts_are_one_observation(n_copies: int) -> None:
    """The intervals of data whose texts occur several times are those of the distinct texts."""
    labels, first = sample(80)
    second = sample(80, seed=1, skill=0.5)[1]
    codes = np.repeat(np.arange(80), n_copies)
    copied = labels[codes], first[codes], second[codes]
    for name, interval in score_intervals(TWO, copied[0], copied[1], codes=codes, seed=4).items():
        expected = score_intervals(TWO, labels, first, seed=4)[name]
        assert vars(interval) == pytest.approx(vars(expected), nan_ok=True), name
    difference = accuracy_difference(TWO, *copied, codes=codes, seed=4)
    assert vars(difference) == pytest.approx(
        vars(accuracy_difference(TWO, labels, first, second, seed=4))
    )
    assert mcnemar(TWO, *copied, codes=codes) == mcnemar(TWO, labels, first, second)
    # Without the codes, the copies would make the interval too narrow.
    narrow = accuracy_difference(TWO, *copied, seed=4)
    assert narrow.high - narrow.low < 0.8 * (difference.high - difference.low)


def test_interval_over_groups_contains_the_accuracy_on_new_groups() -> None:
    """45 groups of ten texts: the accuracy of a group has the mean 0.85 and varies."""
    rng, codes, held = np.random.default_rng(0), np.repeat(np.arange(45), 10), np.zeros(2)
    for seed in range(100):
        is_right = rng.random(450) < rng.beta(3.4, 0.6, 45)[codes]
        labels = rng.integers(0, 2, 450)
        predicted = np.eye(2)[np.where(is_right, labels, 1 - labels)]
        for n, of_rows in enumerate((codes, None)):
            options: Any = {"codes": of_rows, "seed": seed, "names": ["accuracy"]}
            interval = score_intervals(TWO, labels, predicted, **options)["accuracy"]
            held[n] += interval.low <= 0.85 <= interval.high
    assert held[0] >= 90 and held[1] <= 85


@pytest.mark.parametrize("n_groups", [2, 5, 20])
def test_few_groups_call_no_model_better(n_groups: int) -> None:
    """Both models are equally good on new groups. Without the stretch, 42 % of the differences of
    two groups are called better or worse.
    """
    rng, codes = np.random.default_rng(0), np.repeat(np.arange(n_groups), 100)
    n_called, labels = 0, np.zeros(len(codes), dtype=np.int64)
    for seed in range(200):
        change = rng.normal(0, 0.03, n_groups)[codes] / 2
        first, second = (
            np.eye(2)[(rng.random(len(codes)) > 0.85 + of_group).astype(int)]
            for of_group in (change, -change)
        )
        difference = accuracy_difference(TWO, labels, first, second, codes=codes, seed=seed)
        n_called += difference.verdict() is not Verdict.UNCLEAR
    assert n_called <= 20


def test_score_that_all_groups_together_define_has_no_interval() -> None:
    """Each group has one class, so AUC is defined only in the resamples with both groups."""
    labels, predicted = sample(40)
    codes = labels.astype(np.int64)
    interval = score_intervals(TWO, labels, predicted, codes=codes, seed=0)["auc"]
    assert 0 < interval.value < 1 and math.isnan(interval.low) and math.isnan(interval.high)


@pytest.mark.parametrize(("n", "size"), [(2, 3), (5, 4), (5, 10), (9, 3)])
def test_dunnett_s_critical_value_is_scipy_s(n: int, size: int) -> None:
    rng = np.random.default_rng(0)
    groups, control = [rng.normal(size=size) for _ in range(n)], rng.normal(size=size)
    bounds = stats.dunnett(
        *groups, control=control, rng=np.random.default_rng(0)
    ).confidence_interval(0.95)
    error = math.sqrt(np.mean([np.var(group, ddof=1) for group in (*groups, control)]) * 2 / size)
    critical_value = dunnett_critical_value(n, (n + 1) * (size - 1))
    assert critical_value == pytest.approx((bounds.high[0] - bounds.low[0]) / 2 / error, rel=5e-3)


@pytest.mark.parametrize("degrees", [1, 2, 4.5, 20])
def test_dunnett_s_critical_value_lies_between_student_s_and_bonferroni_s(degrees: float) -> None:
    values = [dunnett_critical_value(n, degrees) for n in (1, 2, 5, 20)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(stats.t.ppf(0.975, degrees))
    assert all(
        value <= stats.t.ppf(1 - 0.025 / n, degrees) * 1.0001
        for value, n in zip(values, (1, 2, 5, 20), strict=True)
    )


@pytest.mark.parametrize(
    ("difference", "direction", "verdict", "shown"),
    [
        (Interval(0.02, 0.01, 0.03), 1, Verdict.BETTER, "+0.0200 [+0.0100, +0.0300]"),
        (Interval(0.02, 0.01, 0.03), -1, Verdict.WORSE, "+0.0200 [+0.0100, +0.0300]"),
        (Interval(-0.02, -0.03, -0.01), 1, Verdict.WORSE, "-0.0200 [-0.0300, -0.0100]"),
        (Interval(0.02, 0.00004, 0.05), 1, Verdict.UNCLEAR, "+0.0200 [+0.0000, +0.0500]"),
        (Interval(-4e-5, -8e-5, -1e-5), 1, Verdict.UNCLEAR, "+0.0000 [-0.0001, +0.0000]"),
        (
            Interval(-4e-5, -8e-5, -1e-5, scale=0.00012),
            -1,
            Verdict.BETTER,
            "-0.0000400 [-0.0000800, -0.0000100]",
        ),
        (Interval(-42.5, -80, 10, scale=5000), -1, Verdict.UNCLEAR, "-42 [-80, +10]"),
    ],
)
def test_verdict_follows_the_bounds_as_they_are_shown(
    difference: Interval, direction: int, verdict: Verdict, shown: str
) -> None:
    word = "from" if verdict is Verdict.UNCLEAR else "than"
    assert difference.against("it", direction) == f"{verdict} {word} it ({shown})"


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.05123, 0.00012, 0.1), "0.0512 [0.0001, 0.1000]"),
        (Interval(12345.678, 9876.54, 14321.1), "12346 [9877, 14321]"),
        (Interval(0.00012345, 0.0001, 0.00015), "0.0001234 [0.0001000, 0.0001500]"),
        (Interval(1e-17, 0, 1e-16), "0.0000 [0.0000, 0.0000]"),
        (Interval(0.00098765, math.nan, math.nan), "0.0009877"),
        (Interval(math.inf, math.nan, math.nan), "inf"),
    ],
)
def test_values_in_any_unit_have_four_digits(interval: Interval, text: str) -> None:
    assert str(interval) == text


def test_difference_without_bounds_has_no_verdict() -> None:
    difference = Interval(0.02, math.nan, math.nan)
    assert difference.verdict() is Verdict.UNCLEAR
    assert difference.against("it") == "against it +0.0200"


DRAWS = st.lists(st.integers(-1000, 1000), min_size=4, max_size=150)
