"""The rows that a bootstrap draws together."""

import numpy as np
import pytest

from tuning.data.rows import Rows

TEXTS = np.array([0, 1, 0, 2, 3])


@pytest.mark.parametrize(
    ("groups", "together"),
    [
        (None, [{0, 2}, {1}, {3}, {4}]),
        ([0, 0, 1, 1, 1], [{0, 1}, {2, 3, 4}]),
        # Rows without a group are groups of their own; the copies of a text stay together.
        ([0, 1, 2, 3, 3], [{0, 2}, {1}, {3, 4}]),
        ([7] * 5, [{0, 2}, {1}, {3}, {4}]),
    ],
)
def test_rows_of_a_group_or_a_text_are_drawn_together(
    groups: list[int] | None, together: list[set[int]]
) -> None:
    rows = Rows(TEXTS, strata=np.zeros(5, int), groups=groups and np.array(groups))
    drawn = rows.observations
    found = [{*np.flatnonzero(drawn == number).tolist()} for number in np.unique(drawn)]
    assert sorted(found, key=min) == together


def test_a_part_of_the_rows_with_a_single_group_is_drawn_by_texts() -> None:
    rows = Rows(TEXTS, strata=np.zeros(5, int), groups=np.array([0, 0, 1, 1, 1]))
    assert rows.at(np.array([2, 3, 4])).observations.tolist() == [0, 2, 3]
