"""The stored predictions: written and read again, and the groups of a column."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.numbered import TWO
from tuning.evaluation.predictions import (
    MAX_GROUPS,
    MAX_VALUE,
    Predictions,
    column_of,
    read_predictions,
    write_predictions,
)

SEEN = Predictions(
    labels=np.array([0, 1, 1]),
    lengths=np.array([3, 1, 9]),
    probabilities=np.array([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]]),
    when="2026-01-01T00:00:00+00:00",
    target=TWO,
)


@pytest.mark.parametrize("values", [None, ["books", "", "<b>"]])
def test_predictions_are_read_as_they_were_written(
    values: list[str] | None, tmp_path: Path
) -> None:
    column = None if values is None else column_of("product_category", values)
    write_predictions(tmp_path / "test.npz", replace(SEEN, column=column))
    predictions = read_predictions(tmp_path / "test.npz", TWO)
    assert predictions is not None
    assert predictions.labels.tolist() == [0, 1, 1] and predictions.lengths.tolist() == [3, 1, 9]
    assert predictions.probabilities.tolist() == SEEN.probabilities.tolist()
    assert predictions.when == SEEN.when
    assert (predictions.column is None) == (values is None)
    if predictions.column:
        names = [predictions.column.groups[code] for code in predictions.column.codes]
        assert (predictions.column.name, names) == ("product_category", ["books", "(empty)", "<b>"])


@pytest.mark.parametrize("n_bytes", [0, 10, 300])
def test_damaged_file_has_no_predictions(n_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "test.npz"
    assert read_predictions(path, TWO) is None
    write_predictions(path, SEEN)
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert read_predictions(path, TWO) is None


def test_rare_values_of_a_column_are_one_group() -> None:
    values = [f"{number:02d}" for number in range(MAX_GROUPS + 5)] + ["24"] * 3
    column = column_of("color", values)
    assert column.groups[0] == "24"
    assert len(column.groups) == MAX_GROUPS + 1
    assert column.groups[-1] == "5 other values"
    assert (column.codes == MAX_GROUPS).sum() == 5


def test_long_values_are_cut_have_no_control_characters_and_stay_apart() -> None:
    (group,) = column_of("c", ["a\x1b" + "b" * 500]).groups
    assert group == ("a " + "b" * 500)[: MAX_VALUE - 1] + "…"
    column = column_of("c", [f"{'a category ' * 9}{number % 2}" for number in range(100)])
    assert len(column.groups) == 2 and np.bincount(column.codes).tolist() == [50, 50]
