"""Numbers and ordered classes: their labels, metrics, losses and linear models."""

import re
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, mean_squared_error, r2_score

from tests.numbered import scores_of
from tuning.config import DataConfig
from tuning.errors import ArgumentError, DataError, SpaceBug
from tuning.targets.number import Number, number_text, rounded_text
from tuning.targets.order import Order
from tuning.targets.target import LabelColumn
from tuning.templates import templates_of

STARS = Order(("1", "2", "3", "4", "5"))


def read(values: list[Any], kind: str = "number", **settings: Any) -> LabelColumn:
    target = Number if kind == "number" else Order
    config = DataConfig(kind=kind, **settings)
    return target.read(pd.Series(values, dtype=object), column="stars", config=config)


def test_numbers_are_the_labels() -> None:
    values = ["1", 2.5, "", None, "NA", "3e2", float("inf"), "-1e300", 2e19, 1e19]
    column = read(values, drop_stars=(2.5,))
    assert column.labels[column.is_labeled].tolist() == [1.0, 300.0, 1e19]
    assert column.dropped == {
        "without a label": 3,
        "with dropped stars": 1,
        "with an infinite label, or one beyond ±1.8e19": 3,
    }


def test_each_number_of_stars_is_a_class_in_ascending_order() -> None:
    column = read([5, 1, 3.0, "3", None], "order")
    assert column.target == Order(("1", "3", "5"))
    assert column.labels.tolist() == [2, 0, 1, 1, -1]
    assert column.dropped == {"without a label": 1}


@pytest.mark.parametrize(("rare", "others"), [(0.5, (1.5, 5)), (0, (1, 5))])
def test_rare_number_beside_stars_is_an_ordered_class(
    rare: float, others: tuple[float, ...]
) -> None:
    column = read([rare, *others * 20], "order")
    assert column.target == Order(tuple(f"{number:g}" for number in (rare, *others)))
    with pytest.raises(DataError, match="kind 'order' must have numbers; 'stars' has 'few'"):
        read(["few", *others * 20], "order")


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("number", [1, "good", 2, "good"], "must have numbers; 'stars' also has 'good', in 2 of 4"),
        ("number", ["good", "bad", None], "'stars' has none, but words such as 'good'. Choose"),
        ("number", ["0,50", "-1,5"], "must have a decimal point; 'stars' has '0,50'"),
        ("number", ["1,200", "2,500"], "remove the commas of thousands"),
        ("number", [1, 1, None], "must have different numbers; 'stars' has 1"),
        ("order", ["low", "high", "middle"], "must have numbers; 'stars' has 'high'"),
        ("order", [1, 2, 2], "must have 3 classes or more; 'stars' has 2"),
        ("order", [1, 1], "must have 2 to 100 classes; 'stars' has 1 class"),
    ],
)
def test_column_of_another_kind_is_refused(kind: str, values: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(values, kind)


def test_rule_of_stars_is_for_classes() -> None:
    with pytest.raises(ArgumentError, match=r"drop_stars must be left out.*received 2.5, 3"):
        DataConfig(kind="labels", drop_stars=(3, 2.5))
    with pytest.raises(ArgumentError, match="positive_from must be left out with kind 'number'"):
        DataConfig(kind="number", positive_from=4)


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.integers(0, 3)), min_size=3).filter(
        lambda rows: len({row[0] for row in rows if row[2]}) > 1
    )
)
def test_errors_are_those_of_scikit_learn(rows: list[tuple[float, float, int]]) -> None:
    labels, values, weights = (
        np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)
    )
    scores = scores_of(Number(), labels, values[:, None], weights[None])
    assert scores["mae"] == pytest.approx(
        mean_absolute_error(labels, values, sample_weight=weights)
    )
    squared = mean_squared_error(labels, values, sample_weight=weights)
    assert scores["rmse"] == pytest.approx(np.sqrt(squared))
    if np.average((labels - np.average(labels, weights=weights)) ** 2, weights=weights) > 1e-6:
        assert scores["r2"] == pytest.approx(r2_score(labels, values, sample_weight=weights))


def test_r2_of_equal_labels_is_undefined() -> None:
    scores = scores_of(Number(), np.ones(3), np.zeros((3, 1)), np.ones((1, 3)))
    assert np.isnan(scores["r2"]).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2))
def test_kappa_and_errors_of_stars_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, decided = np.array(pairs).T
    scores = STARS.score(labels, np.eye(5)[decided])
    assert scores["mae"] == pytest.approx(mean_absolute_error(labels, decided))
    if len({*decided}) == 1 < len({*labels}):
        assert scores["quadratic_kappa"] == 0.0  # not -1e-16, which is shown as -0.0000
    elif len({*labels, *decided}) > 1:
        kappa = cohen_kappa_score(labels, decided, weights="quadratic", labels=range(5))
        assert scores["quadratic_kappa"] == pytest.approx(kappa)
    else:
        assert np.isnan(scores["quadratic_kappa"])


@pytest.mark.parametrize(
    ("value", "shown", "rounded"),
    [
        (0.0, "0", "0"),
        (-1.23456, "-1.23456", "-1.235"),
        (0.00001, "0.00001", "0.00001"),
        (17382.5, "17382.5", "17382"),
        (123456.7, "123456.7", "123457"),
        (1738270.0, "1738270", "1738270"),
        (0.1, "0.1", "0.1"),
        (-2.5, "-2.5", "-2.5"),
        (1e-7, "0.0000001", "0.0000001"),
    ],
)
def test_numbers_have_the_digits_of_float32_and_no_exponent(
    value: float, shown: str, rounded: str
) -> None:
    decided = Number().decide(np.array([[value]]))
    assert Number().labels_of(decided) == [number_text(value)] == [shown]
    assert rounded_text(value) == rounded


def test_rule_of_a_number_has_all_digits_of_integers() -> None:
    assert read([1, 1_738_270, 250_000.25], "number").rule == "from 1 to 1738270, median 250000"


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda row: sum(row) > 0.1))
def test_decision_has_the_smallest_expected_distance(row: list[float]) -> None:
    (decided,) = STARS.decide(np.array([row]))
    distances = [np.abs(np.arange(5) - star) @ row for star in range(5)]
    assert distances[decided] == pytest.approx(min(distances))


@pytest.mark.parametrize(
    "loss",
    ["mse", "mae", keras.losses.LogCosh(), lambda y, p: keras.ops.mean(keras.ops.abs(y - p))],
)
def test_losses_for_numbers_take_one_column(loss: Any) -> None:
    encode, activation = Number().form_of(loss, (1,))
    labels = encode(np.array([1.5, 2.0]))
    assert activation is None and labels.tolist() == [[1.5], [2.0]]
    assert labels.dtype == np.float32


@pytest.mark.parametrize(
    "loss", ["binary_crossentropy", keras.losses.BinaryFocalCrossentropy(), "hinge", "dice"]
)
def test_loss_for_classes_contradicts_a_number(loss: Any) -> None:
    with pytest.raises(SpaceBug, match=r"a loss for numbers; received .*Use mse"):
        Number().form_of(loss, (1,))


def test_model_of_several_outputs_contradicts_a_number() -> None:
    with pytest.raises(SpaceBug, match=r"^The model must give one number a text; it gives 5\. End"):
        Number().form_of("mse", (5,))
    with pytest.raises(ValueError, match=r"must give one number a text; it gives 2\."):
        Number().predictions(np.zeros((3, 2)))


@pytest.mark.parametrize("n", [9, 10, 57])
def test_margin_keeps_its_level_for_a_further_text(n: int) -> None:
    """Each of n + 1 exchangeable texts is left out once: at least 90 % are within the margin of the
    others, and at most one more than that.
    """
    draw = np.random.default_rng(n)
    labels, predictions = draw.normal(size=n + 1), draw.normal(size=(n + 1, 1))
    within = 0
    for row in range(n + 1):
        others = np.arange(n + 1) != row
        target = Number().with_margin(labels[others], predictions[others])
        ((low, high),) = target.bounds(predictions[[row]])
        within += low <= labels[row] <= high
    assert 0.9 * (n + 1) <= within < 0.9 * (n + 1) + 1


def test_margin_of_few_texts_is_unknown() -> None:
    target = Number().with_margin(np.zeros(8), np.ones((8, 1)))
    assert target == Number() and target.bounds(np.ones((2, 1))) == [None, None]


def test_each_tenth_of_the_numbers_is_a_stratum() -> None:
    labels = np.random.default_rng(0).permutation(1000) / 7
    assert np.bincount(Number().strata(labels)).tolist() == [100] * 10
    skewed = np.array([0.0] * 90 + [1.0] * 10)
    assert len(np.unique(Number().strata(skewed))) <= 2


def test_tensors_and_the_code_of_a_card_decide_as_arrays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs = np.random.default_rng(0).dirichlet(np.ones(5) / 2, 200).astype(np.float32)
    exact = outputs.astype(np.float64)
    labels = STARS.labels_of(STARS.decide(exact))
    classified = STARS.classify(tf.constant(outputs))
    assert [name.decode() for name in classified["label"].numpy()] == labels
    assert classified["probability"].numpy().tolist() == pytest.approx(STARS.confidence(exact))
    snippets = templates_of("tuning.export").get_template("snippets.md").module
    exec(snippets.shown("given", STARS), {"np": np, "given": outputs})
    assert re.findall(r"'(\d)'", capsys.readouterr().out) == labels


@pytest.mark.parametrize("offset", [1e8, 1.7e9])
def test_r2_of_numbers_far_from_0_is_that_of_scikit_learn(offset: float) -> None:
    draw = np.random.default_rng(0)
    labels, gaps = offset + draw.normal(size=60), draw.normal(size=60) / 2
    scores = scores_of(Number(), labels, (labels + gaps)[:, None], np.ones((1, 60)))
    assert scores["r2"] == pytest.approx(r2_score(labels, labels + gaps), abs=1e-3)
