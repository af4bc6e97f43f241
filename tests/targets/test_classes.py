"""Names of classes that are probably a mistake."""

import pytest

from tuning.targets.classes import Classes


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
    assert Classes(tuple(names)).doubts() == doubt
