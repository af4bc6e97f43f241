"""What the data card says about the data."""

import pytest

from tuning.inputs.data_card import doubtful_names


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (["Pos", "neg", "pos"], "'Pos' and 'pos' differ in their capitals alone"),
        (["NULL", "neg", "pos"], "'NULL' is a class, not a missing label"),
        ([r"\N", "na", "pos"], r"'\\N' and 'na' are classes, not missing labels"),
        (["negative", "positive"], ""),
    ],
)
def test_names_that_are_probably_a_mistake_are_named(names: list[str], doubt: str) -> None:
    assert doubtful_names(names) == doubt
