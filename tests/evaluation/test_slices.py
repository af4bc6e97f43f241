"""The accuracy on parts of a split, and the calibration."""

import numpy as np
import pytest

from tests.numbered import TWO
from tuning.evaluation.predictions import Predictions, column_of
from tuning.evaluation.slices import accuracy_on, calibration, calibration_error, slices_of
from tuning.targets.number import Number

RNG = np.random.default_rng(0)
N = 1_000
POSITIVE = RNG.random(N)
LABELS = (RNG.random(N) < POSITIVE).astype(np.int64)
SEEN = Predictions(
    LABELS,
    RNG.integers(1, 500, N),
    np.stack([1 - POSITIVE, POSITIVE], axis=1),
    column=column_of("category", ["a" if number % 4 else "b" for number in range(N)]),
    target=TWO,
)
RIGHT = (POSITIVE > 0.5) == LABELS


def test_accuracy_of_a_class_is_its_recall() -> None:
    negative, positive = dict(slices_of(SEEN))["Accuracy by class"]
    assert negative.accuracy.value == pytest.approx(RIGHT[LABELS == 0].mean())
    assert positive.accuracy.value == pytest.approx(RIGHT[LABELS == 1].mean())
    assert (negative.n_texts, positive.n_texts) == ((LABELS == 0).sum(), (LABELS == 1).sum())
    assert negative.accuracy.low < negative.accuracy.value < negative.accuracy.high


def test_length_bins_have_a_fifth_of_the_texts_each() -> None:
    bins = dict(slices_of(SEEN))["Accuracy by text length"]
    assert sum(part.n_texts for part in bins) == N
    assert [part.n_texts for part in bins] == pytest.approx([200] * 5, abs=5)
    shortest = SEEN.lengths <= int(bins[0].name.split()[2])
    assert bins[0].n_texts == shortest.sum()
    assert bins[0].accuracy.value == pytest.approx(RIGHT[shortest].mean())


def test_equal_lengths_are_one_bin() -> None:
    same = Predictions(SEEN.labels, np.full(N, 7), SEEN.probabilities, target=TWO)
    (part,) = dict(slices_of(same))["Accuracy by text length"]
    assert (part.name, part.n_texts) == ("7 tokens", N)


def test_bins_of_large_numbers_have_no_exponent() -> None:
    labels = np.array([0.5, 17_382.5, 1_738_270.0])
    numbers = Predictions(labels, np.ones(3, np.int64), np.zeros((3, 1)), target=Number())
    parts = dict(slices_of(numbers))["MAE by label"]
    assert [part.name for part in parts] == ["0.5", "17382", "1738270"]


def test_slices_of_a_column_are_its_values() -> None:
    parts = {part.name: part for part in dict(slices_of(SEEN))["Accuracy by category"]}
    assert {name: part.n_texts for name, part in parts.items()} == {"a": 750, "b": 250}
    assert parts["b"].accuracy.value == pytest.approx(RIGHT[::4].mean())


def test_part_without_texts_has_no_accuracy() -> None:
    assert np.isnan(accuracy_on(SEEN, np.zeros(N, dtype=bool)).value)


def test_bins_of_the_calibration_give_the_expected_calibration_error() -> None:
    bins = calibration(SEEN)
    assert sum(part.n_texts for part in bins) == N
    gaps = [abs(part.confidence - part.accuracy.value) * part.n_texts for part in bins]
    assert sum(gaps) / N == pytest.approx(calibration_error(SEEN))


def test_error_of_few_numbers_has_no_negative_bound() -> None:
    values = np.array([[0.1], [5.0]])
    seen = Predictions(np.zeros(2), np.ones(2, np.int64), values, target=Number())
    assert (accuracy_on(seen).value, accuracy_on(seen).low) == (pytest.approx(2.55), 0.0)
