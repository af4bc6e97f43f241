"""Names of classes that are probably a mistake, and the weights of classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from tests.numbered import numbered
from tuning.config import class_weight_text
from tuning.errors import ArgumentError
from tuning.targets.classes import Classes

TWO_CLASSES = Classes(("negative", "positive"))


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (["Pos", "neg", "pos"], "'Pos' and 'pos' differ in their capitals alone"),
        (["NULL", "neg", "pos"], "'NULL' is a class, not a missing label"),
        ([r"\N", "na", "pos"], r"'\\N' and 'na' are classes, not missing labels"),
        (
            ["price", "price;size", "size"],
            "each combination of labels is a class; kind 'labels' separates them",
        ),
        (["negative", "positive"], ""),
    ],
)
def test_names_that_are_probably_a_mistake_are_named(names: list[str], doubt: str) -> None:
    assert Classes(tuple(names)).doubts(None) == doubt


@given(labels=st.lists(st.integers(0, 3), min_size=1))
def test_balanced_weights_are_those_of_scikit_learn(labels: list[int]) -> None:
    present = np.unique(labels)
    weights = numbered(4).class_weights("balanced", np.array(labels))
    np.testing.assert_allclose(
        weights[present], compute_class_weight("balanced", classes=present, y=labels)
    )


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        (TWO_CLASSES, "positive:5", [1, 5]),
        (TWO_CLASSES, {"positive": 5, "negative": 0.5}, [0.5, 5]),
        (TWO_CLASSES, {0: 1.0, 1: np.float64(5)}, [1, 5]),  # Keras' numbers of the classes
        (Classes(("1", "2", "3")), {1: 2, 2: 3}, [2, 3, 1]),  # names
        (Classes(("a,b", "c:d")), "a,b:2,c:d:3", [2, 3]),
    ],
)
def test_class_weights_of_a_table(target: Classes, given: object, expected: list[float]) -> None:
    text = class_weight_text(given)  # type: ignore[arg-type]
    np.testing.assert_array_equal(target.class_weights(text, np.array([0, 1])), expected)


@pytest.mark.parametrize(
    ("target", "given", "named"),
    [
        (TWO_CLASSES, "positive:5,neutral:2", "negative, positive.*'neutral'"),
        (TWO_CLASSES, {1: 5, 2: 1}, "negative, positive.*'1'"),
        (Classes(("1", "2")), {0: 1, 1: 5}, "1, 2.*'0'"),
    ],
)
def test_class_weight_of_a_name_that_is_no_class_is_refused(
    target: Classes, given: object, named: str
) -> None:
    with pytest.raises(ArgumentError, match=f"class_weight must name classes .*{named}"):
        target.class_weights(class_weight_text(given), np.array([0, 1]))  # type: ignore[arg-type]


def test_metrics_of_rare_classes_are_listed_as_the_objective_alone() -> None:
    def names(n_classes: int, objective: str) -> set[str]:
        listed = numbered(n_classes).listed_metrics(objective)
        return {metric.name for metric in listed}

    usual = names(2, "val_accuracy")
    assert names(3, "val_accuracy") == usual
    for name in ("f1_macro", "brier", "recall_at_precision_0.9"):
        assert names(2, f"val_{name}") == usual | {name}
    assert names(3, "val_recall_at_precision_0.9") == usual
