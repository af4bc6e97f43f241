"""The comparison of expected and true gains, on a table of made-up trainings."""

import itertools

import numpy as np
import pytest

from benchmarks.expected_gain import calibration, gain_after_the_end, searches
from benchmarks.tabulated import Tabulated


@pytest.fixture(scope="module")
def table() -> Tabulated:
    rng = np.random.default_rng(0)
    points = ["".join(digits) for digits in itertools.product("0123456789", repeat=3)]
    truths = 0.5 + 0.02 * rng.exponential(size=len(points))
    values = {
        point: [float(truth + noise) for noise in rng.normal(0, 0.002, 4)]
        for point, truth in zip(points, truths, strict=True)
    }
    axes = tuple((name, 10, True) for name in "abc")
    return Tabulated("val_accuracy", axes, values, [1.0] * len(points))


@pytest.mark.parametrize("n", [20, 50])
def test_gain_of_random_draws_is_expected_within_its_interval(table: Tabulated, n: int) -> None:
    found = searches(table, "random")
    expected, true, covered = calibration(found, n, -np.inf)
    assert expected == pytest.approx(true, rel=0.5)
    assert covered > 0.75
    above_all, none, _ = calibration(found, n, 1.0)
    assert none == 0 <= above_all < expected


def test_little_is_gained_after_the_end(table: Tabulated) -> None:
    found = searches(table, "random")[:20]
    gains = [gain_after_the_end(table, trials) for trials in found]
    assert all(gain >= 0 for gain in gains)
    # The spread of the table's seeds is a tenth of that of its configurations.
    assert np.mean(gains) < 5
