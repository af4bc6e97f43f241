"""The best constants, and the value by which a linear model is tuned."""

import math

import numpy as np
import pytest

from tests.numbered import TWO, numbered
from tuning.evaluation.linear_reference import LinearTask
from tuning.evaluation.references import constants, gain


def test_majority_class_gives_the_shares_of_train_and_validation() -> None:
    models = constants(np.array([0, 1, 1, 1]), np.array([0, 2]), 3, target=numbered(3))
    majority = models["majority class"]
    assert majority.predictions == pytest.approx(np.tile([2 / 6, 3 / 6, 1 / 6], (3, 1)))


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [
        ("", [0, 1], 0.5),
        ("val_loss", [1, 1], -math.log(2)),
        ("val_auc", [1, 1], -math.inf),  # not defined
    ],
)
def test_gain_is_larger_for_better_predictions(
    metric: str, labels: list[int], expected: float
) -> None:
    task, same = LinearTask(metric), np.full((2, 2), 0.5)
    assert gain(np.array(labels), same, target=TWO, task=task) == pytest.approx(expected)
