"""With how many workers an export trains. The trainings themselves are in test_export.py."""

import pytest

from tuning.export.retraining import n_workers_of


@pytest.mark.parametrize(
    ("seconds", "most", "expected"),
    [
        ([999.0, 5.0], 2, 1),  # An encoder, and a baseline of n-grams.
        ([900.0, 900.0], 2, 2),
        ([900.0, 900.0, 900.0], 2, 1),  # The third would train alone on one core.
        ([900.0] * 4, 2, 2),
        ([900.0] * 5, 4, 3),
        ([7.0], 1, 1),
        ([0.0, 0.0], 2, 2),  # No durations are known.
    ],
)
def test_few_encoders_train_with_more_threads_each(
    seconds: list[float], most: int, expected: int
) -> None:
    assert n_workers_of(seconds, most=most) == expected
